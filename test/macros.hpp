// SPDX-License-Identifier: MIT
// Macros that other people's headers define. test/CMakeLists.txt puts them before all of ours, and behind all
// others.

// Qt
#define emit
#define signals public
#define slots
#define forever for (;;)
#define foreach(variable, container) for (variable : container)

// Windows
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define small char
#define near
#define far
#define interface struct
#define IN
#define OUT
#define OPTIONAL
#define ERROR 0
#define DELETE 0x00010000L
#define Yield()
#define GetObject GetObjectA

// X11
#define None 0L
#define Always 2
#define Bool int
#define Status int
#define Success 0
#define True 1
#define False 0

// C, Unix and Apple
#define I _Complex_I
#define major(device) gnu_dev_major(device)
#define minor(device) gnu_dev_minor(device)
#define check(assertion)
#define verify(assertion)
#define require(assertion, label)
#define nil nullptr
