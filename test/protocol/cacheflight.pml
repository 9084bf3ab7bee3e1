// SPDX-License-Identifier: MIT

/* The protocol of include/cacheflight/detail/core.hpp and its parts: who may do what to a flight, and when. One key, N callers with one call
 * each, and up to two others of whom each does one thing, or nothing. Every locked section of the core is one atomic step, and so
 * is every atomic operation; between them anything may happen. What a section does is seen as one step, although a caller that has
 * not suspended can see within it that it is released: that its reference has been counted by then is the schedule explorer's.
 *
 *   FRONT 0   the leader runs the task on its own stack and arms afterwards (threads)
 *   FRONT 1   the leader arms first; the task settles from elsewhere; callers are resumed from elsewhere, and their context may
 *             vanish while they wait (coroutines, callbacks, Asio). The first caller's turn is somebody's
 *             code, which who keeps time must not run; the others are prompt, as threads are
 *
 * Helpers: one process takes flights' ends and what is to be destroyed, another one turns and stop
 * requests; so two jobs can be under way at once. Whether a helper takes a job, or the destructor of the
 * group, makes no difference here. Left to the schedule explorer: the core that each helper's thread keeps,
 * and groups that are destroyed inside of one of their events.
 *
 * Who gives back a reference does so in the step in which it has used the flight for the last time: what
 * comes between can see the difference only by being the last.
 *
 * From the environment: CACHEFLIGHT_QUIET, that there are no events; CACHEFLIGHT_OTHERS, how many others; CACHEFLIGHT_ACTS, what they may do (the sum of 1 cancel(key),
 * 2 clear(), 4 destroy the group, 8 let the flight time out, 16 let a caller's wait time out, 32 make a caller leave);
 * CACHEFLIGHT_REFUSALS, how many hand-overs and stop requests are refused and must be tried again; CACHEFLIGHT_VANISHING, how
 * many contexts may go.
 *
 * Flights have the number of the caller that leads them, and are never reused: whatever is done to a freed one is seen.
 * Variables named g_... are not in the core: they record what happened, for the assertions.
 *
 * Each guard of the protocol can be taken out, by its number in CACHEFLIGHT_WITHOUT: the assertions, or Spin's search for invalid
 * end states, must then fail. */

#ifndef N
#define N 2
#endif
#ifndef FRONT
#define FRONT 0
#endif
c_decl {
  /* Read from the environment. No part of the state: the same in all of it. */
  static int without, without_events, others, acts, refusals_wanted, vanishing_wanted;
  static int setting(char const* name) {
    char const* const text = getenv(name);
    return text ? atoi(text) : 0;
  }
}
#define guard(n) (c_expr { without != n })
#define acts(n) (c_expr { acts & n })
#define quiet (c_expr { without_events })

/* The guards. The letter: the search that must find out when it is missing; see `check`. */
#define SECOND_PROBE 1        /* t enter looks for a flight again after it has built one */
#define UNLINK_IN_STEP 2      /* t a flight that closes leaves the table in the same step */
#define UNLINK_BY_ADDRESS 3   /* t only the flight's own end unlinks it, not a later end under the same key */
#define SETTLE_OPEN 4         /* t settle decides nothing if the flight is closed already */
#define LEAVE_CLOSED 5        /* t leaving a flight that has closed is at once, too */
#define LEAVE_QUEUED 6        /* l leave does nothing once the waiter is not queued */
#define COUNTED_ONCE 7        /* t leaving a flight that has closed counts nothing: its waiters are counted */
#define DISARM 8              /* t a waiter's deadline goes when it is taken from the queue */
#define LAST_LEAVER_CLOSES 9  /* t the last waiter that leaves closes the flight, in the same step */
#define ARM_LOOKS 10          /* t arm fails if the waiter has been released */
#define RELEASE_LOOKS 11      /* t only a waiter that was armed is handed over */
#define EMITTING 12           /* t who ends a flight delivers no last event while another is under way */
#define EMITTING_IN_STEP 13   /* t a joiner counts its hit in the step in which it joins */
#define LAST_EMITTER 14       /* t of several deliveries only the last one to end delivers the last event */
#define CLOSED_MEANWHILE 15   /* t the end of a delivery tells only of a flight that has closed meanwhile */
#define EVENT_FIRST 16        /* t the last event of a settled flight comes before the waiters are released */
#define EVENT_AFTER 17        /* t that of a doomed flight comes after they were */
#define MAY_START 18          /* t the task of a doomed flight is not invoked */
#define STOPPABLE_LOOKS 19    /* t stoppable asks at once if the flight is doomed already */
#define STOPPABLE_FIRST 20    /* t a doom does not ask a task that cannot be asked yet */
#define STOP_UNWOUND 21       /* o stoppable does not ask a task that has unwound */
#define OPEN_REFERENCE 22     /* t an open flight has a reference, which who tells of its end gives back */
#define DELIVERER_REFERENCE 23 /* t a doom adds one for who delivers the last event, if it is not who dooms */
#define TASK_REFERENCE 24     /* t the task has a reference until it has unwound */
#define WAITER_REFERENCES 25  /* t closing adds a reference for each waiter */
#define LEAVER_REFERENCE 26   /* t leaving an open flight adds a reference */
#define STOP_REFERENCE 27     /* t a stop request has a reference */
#define START_REFERENCE 28    /* o a leader that is armed keeps the flight while it starts the task */
#define FLIGHT_KEEPS_CORE 29  /* t a flight keeps the core */
#define LEAVE_KEEPS_CORE 30   /* d leave keeps the core while it hands over */
#define STOP_CALLBACK_OVER 31 /* t a caller does not go on while somebody else makes it leave */
#define PIN 32                /* o a context does not go while one of its callers is being handed over */
#define PIN_FAILS 33          /* o a caller whose context is going is not handed over */
#define WITHDRAW_STRANDED 34  /* o a stranded waiter can be withdrawn */
#define REFUSED_AGAIN 35      /* o a hand-over that was refused is tried again */
#define STOP_AGAIN 36         /* o a stop request that was refused is tried again */
#define STRAND_KEEPS_CORE 37  /* r whoever puts off what was refused keeps the core meanwhile */
#define GIVEN_IF_SOLE 38      /* q settle gives its references back in its step only if nobody but the waiter has one */
#define ONLY_PROMPT 39        /* o who keeps time hands over only to callers whose turns are nobody's code */
#define JOBS 40               /* t who keeps time leaves the event and the stop request to helpers */
#define JOB_REFERENCE 41      /* t who keeps time has a reference of its own if somebody else tells */
#define NEVER_LAST 42         /* t who keeps time destroys no flight */
#define NO_MORE_LEADERS 43    /* t no call leads once the group is going */
#define JOBS_FIRST 44         /* d the group goes only when no flight's end is left to helpers */
#define WAIT_FOR_EVENTS 45    /* t the group goes only when nobody's code is under way for it */
#define SILENT 46             /* d no event begins once the group has gone */

#define NONE 255

mtype = { open, resolved, abandoned, timed_out, cancelled };   /* why a flight is not open */
mtype = { linking, armed, released };                          /* a waiter's phase */
mtype = { unborn, alive, freed };
mtype = { stayed, left, waited_out };

typedef flight_t {
  mtype life = unborn;
  mtype why = open;
  bool unwound, stoppable, unstopped;
  byte ends;                          /* job: to tell of the end; 1 without an event, 2 with */
  bool to_stop, lost;                 /* jobs: to ask the task to stop; to give back the last reference */
  byte emitting, waiters, references;
  bool g_started, g_last;             /* events: started and last */
  bool g_due, g_stopped;              /* the stop request: must be, was delivered */
};
typedef waiter_t {
  mtype life = unborn;
  mtype phase = linking;
  mtype how = stayed;
  byte flight = NONE;
  bool queued, timer;
  byte stranded;                 /* 0 no, 1 in a list of who made it leave, 2 refused, 3 a helper's job */
  bool handed;                        /* its executor has its turn */
  bool may_leave, leaving;            /* its stop callback: set, running */
  bool suspended, dying;
  byte pins;
};

flight_t F[N];
waiter_t W[N];
byte cur = NONE;                      /* the flight in the table */
byte core = 1;                        /* references to the core: the group's; it is gone when there is none */
bool group_going, group_gone;         /* being destroyed, destroyed */
byte under_way;                       /* events and jobs that the destructor waits for */
byte keeper = NONE;                   /* the process that keeps time now */
bool driver_up;
byte refusals;
byte vanishing;
byte entered;
byte g_joinable;                      /* flights admitted and open */
bool starts[N];                       /* FRONT 1: the task was given to somebody who will settle it */

#define waits(i, f) (W[i].queued && W[i].flight == f)
#if N > 2
#define nobody_waits(f) (!waits(0, f) && !waits(1, f) && !waits(2, f))
#elif N > 1
#define nobody_waits(f) (!waits(0, f) && !waits(1, f))
#else
#define nobody_waits(f) (!waits(0, f))
#endif
#if N > 2
#define nothing_refused (W[0].stranded != 2 && W[1].stranded != 2 && W[2].stranded != 2 && \
                         !F[0].unstopped && !F[1].unstopped && !F[2].unstopped)
#elif N > 1
#define nothing_refused (W[0].stranded != 2 && W[1].stranded != 2 && !F[0].unstopped && !F[1].unstopped)
#else
#define nothing_refused (W[0].stranded != 2 && !F[0].unstopped)
#endif
#if N > 2
#define no_ends (!F[0].ends && !F[1].ends && !F[2].ends)
#elif N > 1
#define no_ends (!F[0].ends && !F[1].ends)
#else
#define no_ends (!F[0].ends)
#endif
#define prompt(i) (FRONT == 0 || i > 0)
#define turns(f) (FRONT == 1 && W[0].flight == f)      /* not all who joined are prompt */
#define doomed(f) (F[f].why == cancelled || F[f].why == timed_out)
#define touch(f) assert(F[f].life == alive && core > 0)
#define touch_waiter(i) assert(W[i].life == alive)

/* ---- steps; each is called inside of one atomic step unless it says otherwise ---- */

inline let_core_go() { assert(core > 0); core--; }

inline let_flight_go(f) {
  touch(f);
  assert(F[f].references > 0);
  F[f].references--;
  if
  :: F[f].references == 0 ->
    assert(F[f].unwound && F[f].why != open && (F[f].g_last || group_gone) && cur != f);
    assert(F[f].emitting == 0 && !F[f].unstopped && !F[f].ends && !F[f].to_stop && !F[f].lost);
    assert(F[f].g_due == F[f].g_stopped);                /* rule 16 */
    F[f].life = freed;
    F[f].why = open;                                     /* forgotten: fewer states */
    F[f].g_last = false;
    F[f].g_started = false;
    F[f].stoppable = false;
    F[f].unwound = false;
    F[f].g_due = false;
    F[f].g_stopped = false;
    F[f].waiters = 0;
    if :: guard(FLIGHT_KEEPS_CORE) -> let_core_go(); :: else fi
  :: else
  fi
}

inline join(f, i) {
  touch(f);
  assert(F[f].why == open);                              /* rule 2 */
  assert(F[f].waiters > 0 || f == i);                    /* rule 12: never up from zero */
  W[i].life = alive;
  W[i].flight = f;
  W[i].queued = true;
  W[i].timer = true;
  W[i].may_leave = true;
  F[f].waiters++;
  if :: !quiet -> under_way++; :: else fi
}

inline admit(f) {
  assert(F[f].life == unborn);
  assert(g_joinable == 0);                               /* rule 1 */
  assert(!group_going);                                  /* rule 40 */
  F[f].life = alive;
  F[f].references = 2;
  F[f].emitting = (quiet -> 0 : 1);
  F[f].g_started = quiet;
  if :: guard(FLIGHT_KEEPS_CORE) -> core++; :: else fi
  cur = f;
  g_joinable++;
}

inline unqueue(i) {
  W[i].queued = false;
  if :: guard(DISARM) -> W[i].timer = false; :: else fi
}

/* was_armed: whoever released it must hand it over. */
inline set_released(i, was_armed) {
  touch_waiter(i);
  was_armed = (W[i].phase == armed) || !guard(RELEASE_LOOKS);
  W[i].phase = released;
}

inline close(f, cause) {
  touch(f);
  assert(F[f].why == open);                              /* it ends once: rules 9, 10 */
  F[f].why = cause;
  F[f].g_last = quiet;
  g_joinable--;
  if :: guard(UNLINK_IN_STEP) -> assert(cur == f); cur = NONE; :: else fi
  if :: guard(WAITER_REFERENCES) -> F[f].references = F[f].references + F[f].waiters; :: else fi
}

/* Whoever dooms must conclude. */
inline doom(f, cause, tells, event, stops) {
  close(f, cause);
  tells = true;
  stops = F[f].stoppable || !guard(STOPPABLE_FIRST);
  F[f].g_due = F[f].stoppable;
  if :: stops && guard(STOP_REFERENCE) -> F[f].references++; :: else fi
  event = !quiet && (F[f].emitting == 0 || !guard(EMITTING));
  if :: F[f].emitting > 0 && guard(DELIVERER_REFERENCE) -> F[f].references++; :: else fi
}

/* mine: the leaver was suspended and waits in our list for its turn. */
inline depart(f, i, reason, mine, tells, event, stops) {
  touch(f);
  touch_waiter(i);
  unqueue(i);
  if :: doomed(f) :: else -> W[i].how = reason; fi
  set_released(i, mine);
  if :: mine -> W[i].stranded = 1; :: else fi
  if
  :: F[f].why == open || !guard(COUNTED_ONCE) ->
    assert(F[f].waiters > 0);
    F[f].waiters--;
    if :: guard(LEAVER_REFERENCE) -> F[f].references++; :: else fi
    if
    :: F[f].waiters == 0 && guard(LAST_LEAVER_CLOSES) ->
      assert(nobody_waits(f));                           /* rule 11: the others keep waiting */
      doom(f, cancelled, tells, event, stops);
    :: else
    fi
  :: else
  fi
}

/* On the thread that keeps time: what helpers do for it. Afterwards it has a reference: the open flight's, if
 * there is nobody to be told but those whom it releases itself. */
inline leave_to_helpers(f, tells, event, stops) {
  if
  :: guard(JOBS) ->
    if :: stops -> F[f].to_stop = true; :: else fi
    if
    :: tells && !event && !(turns(f) && F[f].waiters != 0)
    :: else ->
      if :: tells -> F[f].ends = (event -> 2 : 1); :: else fi
      if :: guard(JOB_REFERENCE) -> F[f].references++; :: else fi
    fi
    tells = false;
    event = false;
    stops = false;
  :: else -> F[f].references++;
  fi
}

/* On the thread that keeps time. */
inline release_unseen(f) {
  touch(f);
  if
  :: F[f].references == 1 && guard(NEVER_LAST) -> F[f].lost = true;
  :: else -> F[f].references--; assert(F[f].references > 0);   /* rule 33: it does not destroy the key */
  fi
}

/* What was refused is tried again: somebody wakes the driver, whose thread keeps the core. */
inline rouse() {
  assert(core > 0);
  if :: !driver_up -> driver_up = true; core++; :: else fi
}

/* ---- several steps ---- */

/* The waiter is pinned. Its executor takes it or, within limits, refuses. */
inline hand_over(i) {
  if
  :: d_step {
      touch_waiter(i);
      assert(_pid != keeper || prompt(i));               /* rule 33 */
      assert(!W[i].handed && W[i].phase == released && !W[i].queued && W[i].stranded == 0);   /* rule 10: one turn */
      W[i].handed = true;
      W[i].pins--;
    }
  :: d_step {
      refusals > 0 -> refusals--;
      touch_waiter(i);
      if :: guard(STRAND_KEEPS_CORE) -> core++; :: else fi
    }
    d_step { assert(core > 0); if :: guard(REFUSED_AGAIN) -> W[i].stranded = 2; :: else fi }
    d_step { if :: guard(REFUSED_AGAIN) -> rouse(); :: else fi }
    d_step { W[i].pins--; if :: guard(STRAND_KEEPS_CORE) -> let_core_go(); :: else fi }
  fi
}

/* Pins a waiter that is nobody's now, or leaves it to its context, which goes; gives: hand it over. */
inline pin(i, gives) {
  if
  :: W[i].dying && guard(PIN_FAILS) -> W[i].stranded = 2; gives = false;
  :: else -> W[i].pins++; gives = true;
  fi
}

inline take(i, gives) { unqueue(i); set_released(i, gives); if :: gives -> pin(i, gives); :: else fi }

/* All of a flight's waiters, in one batch: of those who were armed the bits are in `batch`. */
inline take_one(i, f) {
  if
  :: waits(i, f) -> take(i, gives); if :: gives -> batch = batch | (1 << i); :: else fi
  :: else
  fi
}
inline take_all(f) {
  touch(f);
  take_one(0, f);
#if N > 1
  take_one(1, f);
#endif
#if N > 2
  take_one(2, f);
#endif
  gives = false;
}
inline hand_over_batch() {
  do
  :: batch & 1 -> batch = batch & ~1; hand_over(0);
#if N > 1
  :: !(batch & 1) && (batch & 2) -> batch = batch & ~2; hand_over(1);
#endif
#if N > 2
  :: !(batch & 3) && (batch & 4) -> batch = batch & ~4; hand_over(2);
#endif
  :: batch == 0 -> break;
  od;
  w = 0;
}

/* Those who are prompt, all, or all of a doomed flight; then the last event is begun, if it is ours. */
#define PROMPT 0
#define EVERY 1
#define DOOMED 2
#define may_release(whose) (whose != DOOMED || guard(EVENT_AFTER))
inline released_all(f, whose) {
  if
  :: whose == DOOMED && event ->
    assert(nobody_waits(f));                             /* rule 35 */
    event = !group_gone || !guard(SILENT);
    if :: event -> under_way++; :: else fi
  :: else
  fi
}
#if FRONT == 0
/* Blocked threads have one place. */
inline release_waiters(f, whose) {
  d_step {
    if :: may_release(whose) -> take_all(f); :: else fi
    if :: batch == 0 -> released_all(f, whose); :: else fi
  }
  if
  :: batch != 0 -> hand_over_batch(); d_step { released_all(f, whose); }
  :: else
  fi;
}
#else
/* Callers of different contexts go one by one. */
inline release_waiters(f, whose) {
  do
  :: atomic {
      if
      :: waits(0, f) && (whose != PROMPT || !guard(ONLY_PROMPT)) && may_release(whose) -> w = 0;
#if N > 1
      :: waits(1, f) && may_release(whose) -> w = 1;
#endif
#if N > 2
      :: waits(2, f) && may_release(whose) -> w = 2;
#endif
      :: else -> released_all(f, whose); break;
      fi;
      touch(f);
      take(w, gives);
    }
    if :: gives -> hand_over(w); :: else fi
  od;
  gives = false;
  w = 0;
}
#endif

/* Only without UNLINK_IN_STEP: in a step of its own. */
inline unlink_late(f) { if :: !guard(UNLINK_IN_STEP) && cur == f -> cur = NONE; :: else fi }

/* It counts as under way until now. */
inline last_event(f) {
  touch(f);
  assert(F[f].why != open && cur != f);                  /* rule 23: the key is free */
  assert(F[f].g_started && !F[f].g_last);                /* rule 22: once, after the others */
  assert(_pid != keeper);                                /* rule 33 */
  assert(!group_gone);                                   /* rule 40 */
  F[f].g_last = true;
  under_way--;
}

/* A flight has settled, and no event of it is under way but the last. */
inline announce(f) {
  if
  :: quiet -> release_waiters(f, EVERY);
  :: !quiet && guard(EVENT_FIRST) -> d_step { last_event(f); } release_waiters(f, EVERY);
  :: else -> release_waiters(f, EVERY); d_step { last_event(f); }
  fi
}

/* A flight was doomed. */
inline tell(f) {
  release_waiters(f, DOOMED);
  d_step {
    if :: event -> last_event(f); :: else fi
    event = false;
    tells = !guard(EVENT_AFTER);
    unlink_late(f);
    if :: !tells && guard(OPEN_REFERENCE) -> let_flight_go(f); :: else fi
  }
  if
  :: tells -> release_waiters(f, EVERY); d_step { tells = false; let_flight_go(f); }
  :: else
  fi
}

inline ask_to_stop(f) {
  if
  :: d_step {
      touch(f);
      assert(F[f].g_due && !F[f].g_stopped);             /* rule 16: when it is due, once */
      assert(_pid != keeper);                            /* rule 33 */
      F[f].g_stopped = true;
      if :: guard(STOP_REFERENCE) -> let_flight_go(f); :: else fi
    }
  :: d_step {
      refusals > 0 -> refusals--;
      touch(f);
      if :: guard(STRAND_KEEPS_CORE) -> core++; :: else fi
    }
    d_step { assert(core > 0); if :: guard(STOP_AGAIN) -> F[f].unstopped = true; :: else fi }
    d_step { if :: guard(STOP_AGAIN) -> rouse(); :: else fi }
    d_step { if :: guard(STRAND_KEEPS_CORE) -> let_core_go(); :: else fi }
  fi
}

inline conclude(f, tells, event, stops) {
  if :: tells -> tell(f); :: else fi;
  if :: stops -> ask_to_stop(f); :: else fi;
  stops = false;
}

inline settle(f, cause) {
  atomic {
    touch(f);
    assert(!F[f].unwound);
    F[f].unwound = true;
    if
    :: F[f].why == open || !guard(SETTLE_OPEN) ->
      close(f, cause);
      tells = F[f].emitting == 0 || !guard(EMITTING);
      if
      :: quiet && tells ->   /* nothing keeps the waiters from going now */
        sole = F[f].waiters == 1 && !nobody_waits(f) && (F[f].references == 3 || !guard(GIVEN_IF_SOLE));
        if :: sole -> F[f].references = 1; :: else fi;
        take_all(f);
      :: !quiet && tells -> under_way++;
      :: else
      fi
    :: else -> if :: guard(UNLINK_BY_ADDRESS) :: else -> cur = NONE; fi
    fi
  }
  hand_over_batch();
  if
  :: sole -> d_step { sole = false; tells = false; }
  :: else ->
      if :: tells -> announce(f); :: else fi;
    d_step {
      unlink_late(f);
      if :: tells && guard(OPEN_REFERENCE) -> let_flight_go(f); :: else fi
      if :: guard(TASK_REFERENCE) -> let_flight_go(f); :: else fi
      tells = false;
    }
  fi
}

/* First without the lock; who dooms it and who makes it stoppable see each other. */
inline now_stoppable(f) {
  d_step {
    touch(f);
    F[f].stoppable = true;
    stops = doomed(f) && guard(STOPPABLE_LOOKS);
    if :: doomed(f) && !guard(STOPPABLE_LOOKS) && !F[f].unwound -> F[f].g_due = true; :: else fi
  }
  if
  :: stops ->
    d_step {
      touch(f);
      if
      :: F[f].unwound -> stops = !guard(STOP_UNWOUND);
      :: else -> F[f].g_due = true;
      fi;
      if :: stops && guard(STOP_REFERENCE) -> F[f].references++; :: else fi
    }
  :: else
  fi;
  if :: stops -> ask_to_stop(f); :: else fi;
  stops = false;
}

/* runs: the task is invoked. */
inline may_start(f) {
  d_step {
    touch(f);
    runs = F[f].why == open || !guard(MAY_START);
    assert(!runs || F[f].why == open);
  }
}

/* The caller's stop callback is destroyed: nobody makes it leave any more. */
inline no_more_leaving(i) {
  atomic { (!W[i].leaving || !guard(STOP_CALLBACK_OVER)) -> W[i].may_leave = false; }
}

/* The caller has its turn, or is dropped with it: it reads its outcome and gives back its reference. */
inline finish(i) {
  d_step {
    touch_waiter(i);
    f = W[i].flight;
    touch(f);
    assert(!W[i].queued && W[i].stranded == 0);
    assert(W[i].how != stayed || (W[i].phase == released && F[f].why != open && (F[f].g_last || doomed(f))));
    W[i].life = freed;
    W[i].phase = released;                               /* forgotten: fewer states */
    W[i].how = stayed;
    W[i].suspended = false;
    W[i].dying = false;
    let_flight_go(f);
  }
}

/* ---- who acts ---- */

#define reset() \
  d_step { tells = false; stops = false; gives = false; runs = false; leads = false; f = NONE; w = 0; }

proctype caller(byte i) {
  bool tells, event, stops, gives, sole, runs, leads;
  byte f = NONE, w, batch;

  /* enter */
  if
  :: d_step { cur != NONE -> f = cur; join(f, i); if :: guard(EMITTING_IN_STEP) && !quiet -> F[f].emitting++; :: else fi }
  :: d_step { cur == NONE -> skip }   /* outside of the lock, a flight is built */
    d_step {
      if
      :: cur != NONE && guard(SECOND_PROBE) ->
        f = cur;
        join(f, i);
        if :: guard(EMITTING_IN_STEP) && !quiet -> F[f].emitting++; :: else fi
      :: !(cur != NONE && guard(SECOND_PROBE)) && group_going && guard(NO_MORE_LEADERS) ->
        W[i].life = freed;                               /* the call fails */
      :: else -> f = i; leads = true; admit(f); join(f, i);
      fi
    }
  fi;
  if
  :: f == NONE -> entered++; goto over;
  :: else
  fi;
  if
  :: quiet
  :: else ->
    if
    :: !leads && !guard(EMITTING_IN_STEP) -> d_step { touch(f); F[f].emitting++; }
    :: else
    fi;
    /* hit; or miss, task_started */
    d_step { touch(f); assert(!F[f].g_last && !group_gone); if :: leads -> F[f].g_started = true; :: else fi }
    d_step {
      touch(f);
      assert(F[f].emitting > 0);
      F[f].emitting--;
      tells = (F[f].emitting == 0 || !guard(LAST_EMITTER)) && (F[f].why != open || !guard(CLOSED_MEANWHILE));
      if :: tells :: else -> under_way--; fi
    }
    if
    :: tells ->
      if
      :: !doomed(f) -> announce(f);
      :: else -> d_step { last_event(f); }
      fi
    :: else
    fi
  fi;
  d_step {
    entered++;
    if :: tells && guard(OPEN_REFERENCE) -> let_flight_go(f); :: else fi
    tells = false;
  }

#if FRONT == 0
  if
  :: leads ->
    may_start(f);
    if
    :: runs -> now_stoppable(f); settle(f, resolved);
    :: else -> settle(f, abandoned);
    fi
  :: else
  fi;
  d_step {
    touch_waiter(i);
    gives = W[i].phase == released && guard(ARM_LOOKS);
    if :: gives :: else -> W[i].phase = armed; W[i].suspended = true; fi
  }
  if
  :: gives
  :: else -> W[i].handed;
  fi;
  no_more_leaving(i);
  finish(i);
#else
  if :: leads && guard(START_REFERENCE) -> d_step { touch(f); F[f].references++; } :: else fi;
  d_step {
    touch_waiter(i);
    gives = W[i].phase == released && guard(ARM_LOOKS);
    if :: gives -> assert(!W[i].handed); W[i].handed = true; :: else -> W[i].phase = armed; W[i].suspended = true; fi
  }
  if
  :: leads ->
    may_start(f);
    if
    :: runs -> starts[i] = true; now_stoppable(f);
    :: else -> settle(f, abandoned);
    fi;
    if :: guard(START_REFERENCE) -> d_step { let_flight_go(f); } :: else fi
  :: else
  fi;
#endif
over:
  skip;
  reset();
}

#if FRONT == 1
/* Who settles flight f's task. */
proctype task(byte f) {
  bool tells, event, gives, sole;
  byte w, batch;
end:
  starts[f];
  settle(f, resolved);
}

/* Caller i's executor: gives it its turn, or goes. */
proctype context(byte i) {
  bool tells, event, stops, gives, mine;
  byte f = NONE, w, batch;

  if
  :: W[i].life == freed   /* the call has failed */
  :: W[i].handed ->
    no_more_leaving(i);
    finish(i);
  :: d_step { vanishing > 0 && W[i].suspended -> vanishing--; W[i].dying = true; }
    (W[i].pins == 0 || !guard(PIN));
    no_more_leaving(i);
    d_step {  /* withdraw */
      touch_waiter(i);
      f = W[i].flight;
      touch(f);
      mine = true;
      if
      :: W[i].queued -> depart(f, i, left, gives, tells, event, stops);
      :: !W[i].queued && W[i].stranded == 0 -> mine = false;
      :: !W[i].queued && W[i].stranded != 0 && !guard(WITHDRAW_STRANDED) -> mine = false;
      :: else
      fi;
      if :: mine -> W[i].stranded = 0; W[i].how = left; :: else fi
    }
    if
    :: mine -> conclude(f, tells, event, stops);
    :: else -> assert(W[i].handed);   /* the turn that it was given is dropped with the context */
    fi;
    finish(i);
  fi
}
#endif

#if FRONT == 1
/* Gives what was refused another try: on the thread that keeps time what is prompt. The rest goes to helpers,
 * in no step of its own. */
proctype driver() {
  bool gives;
  byte w;
end:
  do
#if N > 1
  :: atomic {
      if
      :: driver_up && W[1].stranded == 2 && !W[1].dying -> w = 1;
#if N > 2
      :: driver_up && W[2].stranded == 2 && !W[2].dying -> w = 2;
#endif
      fi;
      assert(core > 0);
      touch_waiter(w);
      W[w].stranded = 0;
      W[w].pins++;
    }
    hand_over(w);
#endif
  :: d_step { driver_up && nothing_refused -> driver_up = false; let_core_go(); w = 0; }
  od
}
#endif

#define to_stop(f) (F[f].to_stop || (driver_up && F[f].unstopped))

/* A helper: tells of flights' ends, and destroys flights that who keeps time would have destroyed. */
proctype teller() {
  bool tells, event, gives;
  byte f, w, batch;
end:
  do
  :: atomic {
      if
      :: F[0].ends -> f = 0;
#if N > 1
      :: F[1].ends -> f = 1;
#endif
#if N > 2
      :: F[2].ends -> f = 2;
#endif
      fi;
      touch(f);
      event = F[f].ends == 2;
      assert(!group_gone);                               /* rule 40: its event is not lost */
      F[f].ends = 0;
      under_way++;
    }
    tell(f);
    d_step { under_way--; f = 0; }
  :: atomic {
      if
      :: F[0].lost -> f = 0;
#if N > 1
      :: F[1].lost -> f = 1;
#endif
#if N > 2
      :: F[2].lost -> f = 2;
#endif
      fi;
      F[f].lost = false;
      let_flight_go(f);
      f = 0;
    }
  od
}

/* Another one: gives turns, and asks tasks to stop. */
proctype stopper() {
  bool gives;
  byte f;
end:
  do
  :: atomic {
      if
      :: to_stop(0) -> f = 0;
#if N > 1
      :: to_stop(1) -> f = 1;
#endif
#if N > 2
      :: to_stop(2) -> f = 2;
#endif
      fi;
      touch(f);
      F[f].to_stop = false;
      F[f].unstopped = false;
      under_way++;
    }
    ask_to_stop(f);
    d_step { under_way--; f = 0; }
#if FRONT == 1
  :: atomic {
      W[0].stranded == 3 || (driver_up && W[0].stranded == 2 && !W[0].dying) ->
      touch_waiter(0);
      W[0].stranded = 0;
      pin(0, gives);
      under_way++;
    }
    if :: gives -> hand_over(0); :: else fi;
    d_step { under_way--; gives = false; }
#endif
  od
}

/* Does one thing, or nothing. */
proctype actor() {
  bool tells, event, stops, gives, mine, keeps, times, is_callback, destroys, keeps_time;
  byte f = NONE, w, batch, i;

  if
  :: skip
  :: d_step {  /* cancel(key) */
      acts(1) && cur != NONE && !group_gone ->
      f = cur;
      doom(f, cancelled, tells, event, stops);
    }
  :: d_step {  /* clear */
      acts(2) && cur != NONE && !group_gone ->
      f = cur;
      core++;
      keeps = true;
      doom(f, cancelled, tells, event, stops);
    }
  :: d_step {  /* the group is destroyed */
      acts(4) && !group_going ->
      group_going = true;
      destroys = true;
      if :: cur != NONE -> f = cur; doom(f, cancelled, tells, event, stops); :: else fi
    }
  :: d_step {  /* the flight's deadline; the thread that keeps time keeps the core */
      acts(8) && cur != NONE && !group_gone && keeper == NONE ->
      f = cur;
      core++;
      keeps = true;
      keeps_time = true;
      keeper = _pid;
      times = true;
      doom(f, timed_out, tells, event, stops);
      leave_to_helpers(f, tells, event, stops);
    }
  :: atomic {  /* a caller's own deadline */
      if
      :: acts(16) && W[0].timer && !group_gone && keeper == NONE -> i = 0;
#if N > 1
      :: acts(16) && W[1].timer && !group_gone && keeper == NONE -> i = 1;
#endif
#if N > 2
      :: acts(16) && W[2].timer && !group_gone && keeper == NONE -> i = 2;
#endif
      fi;
      touch_waiter(i);
      core++;
      keeps = true;
      keeps_time = true;
      keeper = _pid;
      W[i].timer = false;
      f = W[i].flight;
      if
      :: F[f].why == open || guard(LEAVE_CLOSED) -> depart(f, i, waited_out, mine, tells, event, stops);
      :: else
      fi;
      assert(!W[i].queued);                              /* rule 35 */
      leave_to_helpers(f, tells, event, stops);
      if :: mine && !prompt(i) && guard(ONLY_PROMPT) -> W[i].stranded = 3; mine = false; :: else fi
    }
  :: atomic {  /* a caller's stop callback */
      if
      :: acts(32) && W[0].may_leave -> i = 0;
#if N > 1
      :: acts(32) && W[1].may_leave -> i = 1;
#endif
#if N > 2
      :: acts(32) && W[2].may_leave -> i = 2;
#endif
      fi;
      W[i].may_leave = false;
      W[i].leaving = true;
      is_callback = true;
    }
    d_step {  /* leave */
      touch_waiter(i);
      f = W[i].flight;
      touch(f);
      if
      :: (W[i].queued || !guard(LEAVE_QUEUED)) && (F[f].why == open || guard(LEAVE_CLOSED)) ->
        if :: guard(LEAVE_KEEPS_CORE) -> core++; keeps = true; :: else fi;
        depart(f, i, left, mine, tells, event, stops);
      :: else
      fi
      assert(!W[i].queued);                              /* rule 35 */
    }
  fi;

  if
  :: mine ->
    d_step {  /* give_turns */
      assert(core > 0);
      if
      :: W[i].stranded == 1 -> touch_waiter(i); W[i].stranded = 0; pin(i, gives);
      :: else -> gives = false;   /* withdrawn */
      fi
    }
    if
    /* a turn that is taken inside of its own stop callback does not wait for it */
    :: gives ->
      d_step { if :: is_callback -> W[i].leaving = false; is_callback = false; :: else fi }
      hand_over(i);
    :: else
    fi;
    gives = false;
  :: else
  fi;
  conclude(f, tells, event, stops);
  if :: times -> release_waiters(f, PROMPT); :: else fi;
  d_step {
    assert(!mine || core > 0);                           /* give_turns has looked for more */
    if :: keeps_time -> release_unseen(f); keeper = NONE; :: else fi;
    if :: keeps -> let_core_go(); :: else fi;
    if :: is_callback -> W[i].leaving = false; :: else fi
    keeps_time = false; keeps = false; is_callback = false; times = false; mine = false;
    f = NONE; w = 0; i = 0;
  }
  if
  :: destroys ->
    /* Callbacks may still enter; whoever uses the group otherwise has made sure that it is there. */
    d_step {
      entered == N && (no_ends || !guard(JOBS_FIRST)) && (under_way == 0 || !guard(WAIT_FOR_EVENTS)) ->
      group_gone = true;
      destroys = false;
      let_core_go();
    }
  :: else
  fi
}

init {
  byte i;
  c_code {
    without = setting("CACHEFLIGHT_WITHOUT");
    without_events = setting("CACHEFLIGHT_QUIET");
    others = setting("CACHEFLIGHT_OTHERS");
    acts = setting("CACHEFLIGHT_ACTS");
    refusals_wanted = setting("CACHEFLIGHT_REFUSALS");
    vanishing_wanted = setting("CACHEFLIGHT_VANISHING");
  };
  atomic {
    refusals = c_expr { refusals_wanted };
    vanishing = c_expr { vanishing_wanted };
    i = 0;
    do
    :: i < N ->
      run caller(i);
#if FRONT == 1
      run task(i);
      run context(i);
#endif
      i++;
    :: else -> break;
    od;
    if :: (c_expr { others > 0 }) -> run actor(); run teller(); run stopper(); :: else fi;
    if :: (c_expr { others > 1 }) -> run actor(); :: else fi;
#if FRONT == 1
    run driver();
    if :: (c_expr { others == 0 }) -> run stopper(); :: else fi;
#endif
    i = 0;
  }

  /* Nothing can go on: everything must be over. */
  timeout;
  d_step {
    assert(cur == NONE && g_joinable == 0);
    i = 0;
    do
    :: i < N ->
      assert(W[i].life == freed);                                   /* rule 10: every call has completed */
      assert(F[i].life != alive);                                   /* nothing is left: rule 3 */
      i++;
    :: else -> break;
    od;
    assert(core == (group_gone -> 0 : 1) && !driver_up && under_way == 0 && group_going == group_gone);
  }
}
