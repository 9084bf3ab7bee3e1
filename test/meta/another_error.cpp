// expect: the expected message
// The message stands in a note and in a quoted line only, so it does not count.
[[deprecated("the expected message")]] void f(int);
int main() { f(); /* the expected message */ }
