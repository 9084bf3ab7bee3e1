# SPDX-License-Identifier: MIT
"""Plausible bugs, most of them seen in a shipped library. Each is compiled in beside the code it breaks.

An edit is (header or folder of headers, the text as it stands there once, what stands there instead); where a
part of the text is between «»,
only that is replaced. In the replacement `BUG` is true where the bug is
on, and `$OLD` is the old text with the other mutants in it. `by_schedule`: only another thread's step at the right
moment shows it, so the schedule explorer must.
"""

import dataclasses


@dataclasses.dataclass
class Bug:
    name: str
    mistake: str
    edits: list
    by_schedule: bool = False


CORE = "detail/core"  # core.hpp and its parts
UNLINK = (CORE, "s.table.unlink(f);")
DETACHED = "--s.detached;"
SETTLED = "«close(s, f, why);»\n        tells = f.emitting_ == 0;"
THROUGH = "if («!events») (void)release_batch"
ALONE = "(«own || !events»)"
SOLE = "f.references_.load(std::memory_order_acquire) == 2"
LATER = "for (bool through = false; !through;) {"
RELEASED = "«release_waiters(s, f);»\n    if (std::optional<outcall> delivery; end.event"
OVERDUE = "if (!leave_to_helpers(s, end)) retain(*f);"
PROMPT = "if (doomed) release_prompt(s, *f);"
ROOM = "fresh.flight_ ? claim_key() : has_room()"

BUGS = [
    # ---- identity: rules 1 to 4
    Bug(
        "old_flight_removes_the_newer_one_by_key",
        "the late end of a doomed flight takes its key out of the table, whoever has it now",
        [
            (
                CORE,
                DETACHED,
                """$OLD
        if (BUG) {
          flight_type* const newer = s.table.find(f.hash, [&](flight_type& o) { return o.key().text == f.key().text; });
          if (newer) {
            s.table.unlink(*newer);
            newer->link = &newer->next_in_bucket;
          }
        }""",
            )
        ],
    ),
    Bug(
        "settled_flight_stays_in_the_table",
        "a result is stored instead of being handed out once",
        [(*UNLINK, "if (!(BUG && why == cause::resolved)) { $OLD }")],
    ),
    Bug(
        "key_leaked_on_abandon",
        "a task that never answers keeps its key",
        [(*UNLINK, "if (!(BUG && why == cause::abandoned)) { $OLD }")],
    ),
    Bug(
        "settled_first_and_removed_later",
        "stale results: the flight is decided, and joinable until its waiters are released",
        [
            (*UNLINK, "if (!(BUG && !doomed(why))) { $OLD }"),
            (
                CORE,
                LATER,
                """if (BUG && !doomed(f.why())) {
      std::scoped_lock lock(f.home_->mutex);
      if (f.home_->table.find(f.hash, [&](flight_type& o) { return &o == &f; })) f.home_->table.unlink(f);
    }
    $OLD""",
            ),
            (CORE, THROUGH, "!BUG && $OLD"),
            (CORE, ALONE, "!BUG && ($OLD)"),
        ],
    ),
    Bug(
        "removed_first_and_settled_later",
        "two flights of one key: the first is out of the table and not decided yet",
        [
            (
                CORE,
                "P::point(core_step::settle);",
                """$OLD
    if (BUG) {
      std::scoped_lock lock(s.mutex);
      if (f.why_ == cause::open) s.table.unlink(f);
    }
    if (BUG) P::point(core_step::settle);""",
            ),
            (*UNLINK, "if (!BUG || s.table.find(f.hash, [&](flight_type& o) { return &o == &f; })) { $OLD }"),
        ],
        by_schedule=True,
    ),
    Bug(
        "joins_a_doomed_flight",
        "a cancelled flight stays joinable until its task has unwound",
        [
            (*UNLINK, "if (!(BUG && doomed(why) && !f.unwound_)) { $OLD }"),
            (
                CORE,
                DETACHED,
                """$OLD
        if (BUG) s.table.unlink(f);""",
            ),
        ],
    ),
    Bug(
        "unlocked_between_probe_and_join",
        "the flight that was found is settled, or gone, when it is joined",
        [
            (
                CORE,
                "++s.hits;",
                """if (BUG) {
          s.mutex.unlock();
          P::point(core_step::release);
          s.mutex.lock();
        }
        $OLD""",
            )
        ],
        by_schedule=True,
    ),
    Bug(
        "a_task_begins_whenever_its_turn_comes",
        "who was queued runs for nobody: its flight has ended meanwhile",
        [(CORE, "{ return «f.why() == cause::open»; }", "BUG || $OLD")],
        by_schedule=True,
    ),
    Bug(
        "no_second_probe",
        "two leaders of one key: what was likely absent before the flight was built is not looked for",
        [(CORE, "f = «s.table.find(c.hash, same)»", "(BUG && fresh.flight_) ? nullptr : $OLD")],
    ),
    Bug(
        "decided_and_closed_in_two_steps",
        "the task's end finds the flight open, lets go of the lock, and ends it a second time",
        [
            (
                CORE,
                "P::point(core_step::settle);",
                """bool was_open = false;
    if (BUG) {
      std::scoped_lock lock(s.mutex);
      was_open = f.why_ == cause::open;
    }
    $OLD""",
            ),
            (CORE, "f.unwound_ = true;", "$OLD if (BUG && was_open && f.why_ != cause::open) f.why_ = cause::open;"),
        ],
        by_schedule=True,
    ),
    # ---- outcomes: rules 6 to 10, 15, 19
    Bug(
        "late_value_of_a_doomed_flight_is_delivered",
        "what a cancelled task yields replaces the outcome that was decided",
        [
            (
                CORE,
                DETACHED,
                """$OLD
        if (BUG) {
          if (why == cause::rejected) std::destroy_at(&f.value_), std::construct_at(&f.exception_, std::move(exception));
          else f.value_ = std::move(value);
          f.why_ = why;
        }""",
            )
        ],
    ),
    Bug(
        "the_tasks_own_timeout_error_taken_for_ours",
        "the cause is decided by the type of the exception",
        [
            (
                CORE,
                SETTLED,
                """if (BUG && why == cause::rejected) {
          try {
            std::rethrow_exception(exception);
          } catch (timeout_error const&) {
            why = cause::timed_out;
          } catch (...) {
          }
        }
        $OLD""",
            )
        ],
    ),
    Bug(
        "double_resume",
        "a waiter that was released before it suspended is resumed as well",
        [(CORE, "if (!set_released(w)) return;", "if (BUG) (void)set_released(w); else $OLD")],
    ),
    Bug(
        "refused_hand_over_lost",
        "an executor that refuses makes its caller hang",
        [(CORE, "owner.retain();  // the waiter may be", "if (BUG) return;\n    $OLD")],
    ),
    Bug(
        "refused_stop_request_lost",
        "a stop request that could not be delivered is not tried again",
        [
            (
                CORE,
                "s.unstopped.push(f);",
                "if (BUG) return owner.release(), release(f);\n      $OLD",
            )
        ],
    ),
    Bug(
        "type_mismatch_counted_as_hit",
        "the books say that a call joined which was refused",
        [(CORE, "++s.type_mismatches;", "if (BUG) ++s.hits;\n          $OLD")],
    ),
    Bug(
        "type_mismatch_joins",
        "a call with another result type gets a pointer to something else",
        [(CORE, "!detail::same_type(f->type(), *c.type)", "!BUG && $OLD")],
    ),
    Bug(
        "types_of_one_name_are_one",
        "two source files with a type of their own, in an unnamed namespace, get each other's",
        [("detail/type_identity.hpp", "!detail::can_be_local(a.name())", "BUG || $OLD")],
    ),
    Bug(
        "only_one_object_is_one_type",
        "a program and its plugin never share a flight",
        [("detail/type_identity.hpp", "(«a == b» && !detail", "!BUG && $OLD")],
    ),
    Bug(
        "waiters_of_a_flight_resumed_from_a_copy_of_its_list",
        "a waiter that a resumed one has destroyed is touched",
        [
            (CORE, THROUGH, "!BUG && $OLD"),
            (CORE, ALONE, "!BUG && ($OLD)"),
            (
                CORE,
                LATER,
                """if (BUG && !OnlyPrompt) {
      waiter_type* all[64];
      std::size_t count = 0;
      {
        std::scoped_lock lock(s.mutex);
        for (; !f.queue_.empty() && count < 64; ++count) {
          all[count] = &f.queue_.front();
          steps<P>::unqueue(s, *all[count]);
        }
      }
      for (std::size_t i = 0; i < count; ++i)
        if (steps<P>::set_released(*all[i])) give_turn(*all[i]);
    }
    $OLD""",
            ),
        ],
    ),
    # ---- leaving: rules 11 and 12
    Bug(
        "one_leaves_and_all_are_cancelled",
        "one waiter's stop request ends the work for all",
        [(CORE, "open && «f.waiters_ == 0» ? doom(s, f, cause::cancelled)", "BUG || $OLD")],
    ),
    Bug(
        "the_last_leaver_does_not_stop_the_task",
        "work that nobody waits for goes on, and keeps its key",
        [(CORE, "return open && f.waiters_ == 0 ? doom(s, f, cause::cancelled) : closing{};", "if (BUG && how == departure::left) return closing{};\n    $OLD")],
    ),
    Bug(
        "the_last_leaver_closes_in_a_second_step",
        "the count of waiters rises from zero: a caller that joins meanwhile is cancelled by nobody",
        [
            (
                CORE,
                "P::point(core_step::leave);",
                "flight_type* late = nullptr;\n    $OLD",
            ),
            (
                CORE,
                "end = depart(s, *w.flight_, w, departure::left, leaver);",
                """flight_type& f = *w.flight_;
      bool const later = BUG && f.open();
      if (later) ++f.waiters_;
      $OLD
      if (later && --f.waiters_ == 0) {
        late = &f;
        retain(f);
      }""",
            ),
            (
                CORE,
                "give_turns(s, leaver);\n    conclude(end);\n    owner.release();",
                """if (late) {
      P::point(core_step::leave);
      closing then;
      {
        std::scoped_lock lock(s.mutex);
        if (late->why_ == cause::open) then = doom(s, *late, cause::cancelled);
      }
      conclude(then);
      release(*late);
    }
    $OLD""",
            ),
        ],
        by_schedule=True,
    ),
    Bug(
        "leaves_again_after_it_was_released",
        "a cancel that comes after the caller has left takes it out of the list twice",
        [(CORE, "if («!w.queued_») return;", "!BUG && ($OLD)")],
    ),
    Bug(
        "a_throwing_callback_leaks_a_waiter",
        "the call fails with the callback's exception, its waiter stays, automatic cancellation never fires",
        [
            (CORE, "std::any const& metadata, std::any const& leaders) «noexcept» {\n    try", "noexcept(false)"),
            (
                CORE,
                "still to be told, and its callers\n      «callback_failed();»",
                "$OLD\n      if (BUG && type == event_type::hit) throw;",
            ),
        ],
    ),
    # ---- stopping: rules 13 and 16
    Bug(
        "a_cancel_before_the_first_step_hangs_the_waiters",
        "only a task that runs wakes who waits for it",
        [(CORE, RELEASED, "if (!(BUG && !(f.stop_ & flight_type::stoppable))) { $OLD }")],
    ),
    Bug(
        "a_cancelled_task_is_started",
        "the flight was doomed before its task ran, and runs all the same",
        [(CORE, "return f.why() == cause::open;", "if (BUG) return true; $OLD")],
    ),
    Bug(
        "stop_request_lost_when_the_doom_comes_first",
        "a task that could not be asked yet when its flight was doomed is never asked",
        [(CORE, "f.stop_.fetch_or(flight_type::stoppable, std::memory_order_acq_rel) & flight_type::stop_due", "($OLD) * (BUG ? 0 : 1)")],
    ),
    Bug(
        "stop_request_lost_between_check_and_note",
        "doomed after the check and before the task is noted as stoppable",
        [
            (
                CORE,
                "P::point(core_step::stoppable);",
                """$OLD
    if (BUG && f.why() == cause::open) {
      P::point(core_step::stoppable);
      f.stop_.fetch_or(flight_type::stoppable, std::memory_order_acq_rel);
      return;
    }""",
            )
        ],
        by_schedule=True,
    ),
    Bug(
        "stop_requested_twice",
        "once by who dooms the flight before its task can be asked, and once more when it can",
        [(CORE, "f.stop_.fetch_or(flight_type::stop_due, std::memory_order_acq_rel) & flight_type::stoppable", "($OLD) != 0 || BUG")],
    ),
    Bug(
        "a_failed_task_is_asked_to_stop",
        "every end of a flight is announced to its task, doom or not",
        [
            (CORE, "bool sole = false;", "bool asks = false;\n    $OLD"),
            (CORE, SETTLED, "$OLD\n        if (BUG && (f.stop_ & flight_type::stoppable) && why == cause::resolved) retain(f), asks = true;"),
            (CORE, "release(f, tells ? 2 : 1);", "if (asks) ask_to_stop(f);\n    $OLD"),
        ],
    ),
    Bug(
        "clear_misses_one_flight",
        "the flight that is the last of its part of the table survives",
        [(CORE, "closing const end = doom(s, f, why);", "if (BUG && s.table.size() == 1) return;\n          $OLD")],
    ),
    Bug(
        "clear_misses_the_last_shard",
        "one part of the table is not looked at",
        [(CORE, "P::point(core_step::clear);", "if (BUG && &s + 1 == shards_.end()) break;\n      $OLD")],
    ),
    # ---- time: rules 17 and 18
    Bug(
        "deadline_not_removed_when_the_flight_settles",
        "it fires on a flight that has ended",
        [(CORE, "s.deadlines.remove(f);", "if (!(BUG && !doomed(why))) { $OLD }")],
    ),
    Bug(
        "deadline_not_removed_when_the_waiter_leaves",
        "it fires on a waiter that has gone",
        [(CORE, "s.deadlines.remove(w);", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "deadlines_fire_early",
        "what is due within a millisecond is taken for due",
        [(CORE, "first->when > now", "BUG ? first->when > now + std::chrono::milliseconds(1) : ($OLD)")],
    ),
    Bug(
        "only_one_deadline_fires_at_a_time",
        "the rest waits until the thread happens to wake again",
        [
            (CORE, "release_unseen(s, *f);", "$OLD\n      if (BUG) return (time_point::max)();")
        ],
    ),
    Bug(
        "tie_of_timeouts_reversed",
        "the caller's own timeout fires before its flight's",
        [("detail/deadline_heap.hpp", "a.node->of < b.node->of", "BUG ? b.node->of < a.node->of : ($OLD)")],
    ),
    Bug(
        "a_joiner_shortens_the_flight",
        "its timeout replaces the leader's",
        [
            (
                CORE,
                "++s.hits;",
                """$OLD
        if (BUG && c.timeout != no_limit && s.deadlines.has_room(1)) {
          s.deadlines.remove(*f);
          s.deadlines.push(deadline_after(now, c.timeout), *f);
        }""",
            )
        ],
    ),
    Bug(
        "a_wait_timeout_ends_the_flight",
        "one caller's patience is taken for the task's deadline",
        [
            (
                CORE,
                "end = depart(s, *f, w, departure::wait_timed_out, w.prompt_ ? leaver : s.turns);",
                "if (BUG && f->open()) end = doom(s, *f, cause::timed_out), doomed = true;\n          else $OLD",
            )
        ],
    ),
    Bug(
        "wake_up_lost_between_looking_and_sleeping",
        "a deadline that is armed while the thread looks is not seen until the next one",
        [
            (
                "detail/thread_driver.hpp",
                "time_point next = work.run_due();",
                "$OLD\n      if (BUG) wake_.store((time_point::max)(), std::memory_order_release);",
            )
        ],
    ),
    # ---- time is kept by a thread that runs nobody else's code: rule 33
    Bug(
        "the_thread_that_keeps_time_delivers_an_event",
        "while the user's callback runs no deadline fires",
        [
            (CORE, "bool doomed = false;", "bool delivers = false;\n      $OLD"),
            (CORE, OVERDUE, "if (BUG) delivers = std::exchange(end.event, false);\n        $OLD"),
            (
                CORE,
                PROMPT,
                """$OLD
      if (std::optional<outcall> delivery; delivers && telling<P>::begin_outcall(s, delivery)) telling<P>::deliver_last(*f, *delivery);""",
            ),
        ],
    ),
    Bug(
        "the_thread_that_keeps_time_makes_callers_turns",
        "while the user's coroutine runs no deadline fires",
        [
            (CORE, "departure::wait_timed_out, «w.prompt_» ? leaver : s.turns);", "BUG || $OLD"),
            (CORE, PROMPT, "if (BUG && doomed) telling<P>::release_waiters(s, *f);\n      else $OLD"),
        ],
    ),
    Bug(
        "the_thread_that_keeps_time_destroys_the_flight",
        "while the destructor of the user's task or key runs no deadline fires",
        [(CORE, "release_unseen(s, *f);", "if (BUG) release(*f);\n      else $OLD")],
    ),
    Bug(
        "the_thread_that_keeps_time_asks_the_task_to_stop",
        "while the user's stop callback runs no deadline fires",
        [
            (CORE, "bool doomed = false;", "bool asks = false;\n      $OLD"),
            (CORE, OVERDUE, "if (BUG) asks = std::exchange(end.stop, false);\n        $OLD"),
            (CORE, PROMPT, "$OLD\n      if (asks) ask_to_stop(*f);"),
        ],
    ),
    # ---- queued tasks: rule 34
    Bug(
        "a_queued_task_begins_after_its_flight_has_ended",
        "work that nobody waits for is done when its turn in the queue comes",
        [("detail/work.hpp", "if («core_type::may_start(*held)») held->run(nullptr);", "BUG || $OLD")],
    ),
    # ---- leaving is at once: rule 35
    Bug(
        "a_doomed_flights_event_before_its_callers",
        "who was cancelled or timed out waits for the user's callback",
        [
            (
                CORE,
                RELEASED,
                """if (BUG) {
      if (std::optional<outcall> early; end.event && begin_outcall(s, early)) deliver_last(f, *early);
      end.event = false;
    }
    $OLD""",
            )
        ],
    ),
    Bug(
        "nobody_leaves_a_flight_that_has_settled",
        "who is stopped while the last event is delivered waits for the user's callback",
        [(CORE, "if («!w.queued_») return;", "$OLD || (BUG && !w.flight_->open())")],
    ),
    Bug(
        "callers_who_need_no_turn_wait_for_others_turns",
        "a blocked caller is behind a coroutine of the same flight that does not suspend",
        [(CORE, "if («w.prompt_ && f.turns_») f.queue_.push_front(w);", "!BUG && $OLD")],
    ),
    # ---- the group's destructor: rule 40
    Bug(
        "events_after_the_group",
        "a callback uses what was destroyed together with the group",
        [(CORE, "s.silent = true;", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "the_destructor_does_not_wait_for_callbacks",
        "a callback that was under way on another thread uses what was destroyed together with the group",
        [(CORE, "driver_.await([this] { return nothing_under_way(); });", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "a_call_leads_while_the_group_goes",
        "its flight is cancelled by nobody",
        [(CORE, "if («s.who_leads != door::open» && (s.gone", "$OLD && !(BUG && s.gone)")],
    ),
    # ---- limits: rule 21
    Bug(
        "cap_checked_and_counted_in_two_steps",
        "two leaders that saw the last free place both take it",
        [(CORE, ROOM, "BUG && fresh.flight_ ? (keys_.fetch_add(1), true) : ($OLD)")],
    ),
    Bug(
        "cap_claimed_before_the_flight_is_built",
        "the place is lost when building throws or another leader is faster",
        [
            (CORE, ROOM, "BUG ? fresh.flight_ || claim_key() : ($OLD)"),
            (CORE, "s.table.size() == 0", "!BUG && $OLD"),
        ],
    ),
    Bug(
        "cap_counts_until_the_task_has_unwound",
        "a doomed flight keeps its place",
        [
            (CORE, "else «give_back_key(s);»", "if (!(BUG && doomed(why) && !f.unwound_)) { $OLD }"),
            (
                CORE,
                DETACHED,
                "$OLD\n        if (BUG && s.owner->options_.max_keys() != 0) s.owner->keys_.fetch_sub(1);",
            ),
        ],
    ),
    # ---- events and books: rules 22 to 26
    Bug(
        "last_event_after_the_waiters",
        "a caller that returned does not see its flight in the log",
        [
            (CORE, "deliver_last(f, delivery.made);", "if (BUG) release_waiters(s, f);\n      $OLD"),
            (CORE, "if (!silent) deliver_last(f, delivery);", "if (BUG) release_waiters(s, f);\n    $OLD"),
        ],
    ),
    Bug(
        "size_is_not_brought_up_to_date_at_the_end",
        "the group never looks empty again",
        [
            ("detail/flight_table.hpp", "count(-1);", "if (!BUG) { $OLD }"),
        ],
    ),
    Bug(
        "hit_after_the_last_event",
        "nobody waits for a hit that is being delivered",
        [
            (CORE, "++f->emitting_;", "if (!BUG) { $OLD } else retain(*f);"),
            (CORE, "in.suspended = end_delivery(delivery.made, *f, w, c.ready_to_suspend);", "if (BUG && in.how == admission::joined) return delivery.made.end(), release(*f), in;\n    $OLD"),
        ],
    ),
    Bug(
        "the_end_announced_while_an_event_is_delivered",
        "task_resolved overtakes task_started",
        [
            (CORE, "tells = «f.emitting_ == 0»;", "BUG || $OLD"),
            (CORE, "bool const other_event = «f.emitting_ != 0»;", "!BUG && $OLD"),
        ],
    ),
    Bug(
        "the_end_of_a_delivery_checked_in_two_steps",
        "the flight closes in between, and its end is announced twice",
        [
            (
                CORE,
                "ours = --f.emitting_ == 0 && !f.open();",
                """if (BUG) {
        bool const last = --f.emitting_ == 0;
        f.home_->mutex.unlock();
        P::point(core_step::release);
        f.home_->mutex.lock();
        ours = last && !f.open();
      } else
        $OLD""",
            )
        ],
        by_schedule=True,
    ),
    Bug(
        "a_hit_begins_to_be_delivered_after_the_join",
        "the flight closes in between, and its end overtakes the hit",
        [
            (CORE, "++f->emitting_;", "if (!BUG) { $OLD }"),
            (
                CORE,
                "if (!events) return in;",
                """$OLD
    if (BUG && in.how == admission::joined) {
      std::scoped_lock again(s.mutex);
      ++f->emitting_;
    }""",
            ),
        ],
        by_schedule=True,
    ),
    Bug(
        "a_hit_is_delivered_and_was_never_begun",
        "the count of deliveries under way is one too low, and the end comes during another one, or never",
        [(CORE, "++f->emitting_;", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "a_joiners_metadata_on_the_flights_events",
        "the last event carries what the last joiner brought",
        [(CORE, "++s.hits;", "if (BUG) f->metadata_.reset(new std::any(metadata_of(c, fresh)));\n        $OLD")],
    ),
    Bug(
        "the_miss_counted_before_the_flight_is_built",
        "the books are wrong when building throws",
        [(CORE, "fresh.flight_ = build();", "if (BUG) ++s.misses;\n      $OLD"),
         (CORE, "«++s.misses;»\n              ++s.living;", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "detached_is_not_counted_down",
        "work that has ended is reported for ever",
        [(CORE, DETACHED, "if (!BUG) { $OLD }")],
    ),
    Bug(
        "an_event_under_the_lock",
        "a callback that asks the group deadlocks",
        [
            (
                CORE,
                "waiters = f->waiters_;",
                "$OLD\n        if (BUG) announcer_.deliver(event_type::hit, f->key(), f->id_, waiters, *c.metadata, *c.metadata);",
            )
        ],
    ),
    Bug(
        "a_late_value_destroyed_under_the_lock",
        "the destructor of a result is user code",
        [(CORE, DETACHED, "$OLD\n        if (BUG) value.reset(), exception = nullptr;")],
    ),
    # ---- threads and lifetime: rules 27 to 30
    Bug(
        "suspends_without_looking_again",
        "released between the look and the note: nobody wakes this caller any more",
        [
            (
                CORE,
                "P::point(core_step::arm);",
                """$OLD
    if (BUG) {
      if (released(w)) return false;
      P::point(core_step::release);
      w.phase_.store(phase::armed);
      return true;
    }""",
            )
        ],
        by_schedule=True,
    ),
    Bug(
        "armed_outside_of_the_lock",
        "suspended after whoever releases it has looked: nobody hands over to this caller",
        [
            (
                CORE,
                "P::point(core_step::arm);",
                """$OLD
    if (BUG) {
      auto expected = phase::linking;
      return w.phase_.compare_exchange_strong(expected, phase::armed);
    }""",
            ),
            (
                CORE,
                "w.phase_.store(phase::released, std::memory_order_release);",
                """if (BUG) P::point(core_step::release);
    $OLD""",
            ),
        ],
        by_schedule=True,
    ),
    Bug(
        "released_before_its_reference_is_counted",
        "a caller that is not suspended sees it at once, and gives back what it has not got yet",
        [(CORE, SETTLED, "$OLD\n        if (BUG && !owner.events_) (void)release_batch(s, f, released);")],
        by_schedule=True,
    ),
    Bug(
        "touches_the_core_after_a_joiner_was_armed",
        "the joiner has gone on, and the group with it, when its deadline is told to the driver",
        [
            (CORE, "in.suspended = arms && «wait_until == (time_point::max)()»", "(BUG || $OLD)"),
        ],
        by_schedule=True,
    ),
    Bug(
        "the_group_holds_nothing_while_it_lets_go",
        "the last flight frees the core under its hands",
        [
            (CORE, "references_(«shards_.count() + 2»)", "$OLD - (BUG ? 2 : 0)"),
            (CORE, "std::size_t idle = «drained ? 1 : 2»;", "($OLD) - (BUG ? 2 : 0)"),
        ],
        by_schedule=True,
    ),
    Bug(
        "the_flight_is_read_after_its_last_waiter",
        "who has not suspended sees that it is released, and frees the flight",
        [(CORE, "f.home_ = nullptr;\n    }\n    «release_next(s, f, released);»", "$OLD\n      if (BUG) (void)release_batch(s, f, released);")],
        by_schedule=True,
    ),
    Bug(
        "the_core_is_read_after_the_flight_was_given_away",
        "the caller whose flight it was has destroyed the group",
        [(CORE, "if (!released.callers.empty()) hand_over(released);", "if (BUG && tells && owner.events_) deliver_last(f, delivery.made);\n    $OLD")],
        by_schedule=True,
    ),
    Bug(
        "only_the_first_of_a_batch_is_handed_over",
        "who is released together is not resumed together",
        [(CORE, "if (!w->hand_over(released.callers)) strand(*w);", "{ $OLD if (BUG) break; }")],
    ),
    Bug(
        "callers_of_different_places_in_one_batch",
        "only the first one's place is kept until all have their turns",
        [(CORE, "!first && «(!place || w.place() != place)»", "!BUG && $OLD")],
    ),
    Bug(
        "references_stored_though_others_have_some",
        "what somebody else holds is forgotten, and the flight freed too early",
        [(CORE, SOLE, "BUG || $OLD")],
    ),
    Bug(
        "the_value_is_moved_to_the_first",
        "the others get none",
        [(CORE, "if («f.references_.load(std::memory_order_acquire) == 1») return shared(std::move", "BUG || $OLD")],
    ),
    Bug(
        "a_flight_is_not_counted_though_its_caller_may_be_left",
        "who makes it leave looks for a shard that has gone",
        [(CORE, "f.queue_.front().lets_go_", "BUG || $OLD")],
        by_schedule=True,
    ),
    Bug(
        "a_reference_is_taken_over_and_not_given_back",
        "the flight is never freed",
        [(CORE, "next.references_ += w.references_;", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "a_part_with_flights_counted_as_idle",
        "the core is freed before they are",
        [(CORE, "s.ended.close(s.living)", "$OLD || BUG")],
    ),
    Bug(
        "flights_are_counted_and_the_count_never_closed",
        "the core outlives the last of them, for ever",
        [(CORE, "s.ended.close(s.living)", "!BUG && $OLD")],
    ),
    Bug(
        "a_mutex_that_does_not_exclude",
        "two threads are in one critical section",
        [("detail/short_mutex.hpp", "if («taken_.exchange(true, std::memory_order_acquire)») [[unlikely]]", "$OLD && !BUG")],
    ),
    Bug(
        "a_flight_is_never_freed",
        "the reference of a caller that left is not given back",
        [(CORE, "if (!doomed(f.why())) w.left_ = how;", "$OLD\n    if (BUG) core<P>::retain(f);")],
    ),
    Bug(
        "a_flight_is_freed_too_early",
        "the stop request holds no reference: the task can be gone when it is asked",
        [(CORE, "end.stop ? 1 : 0", "BUG ? 0 : ($OLD)")],
    ),
    Bug(
        "the_group_is_destroyed_without_clear",
        "its callers wait for ever",
        [(CORE, "doom_all(cause::destroyed);", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "the_group_takes_its_shards_along",
        "a task that unwinds after its group touches freed memory",
        [(CORE, "references_.fetch_sub(idle, std::memory_order_acq_rel) == idle", "BUG || $OLD")],
    ),
    Bug(
        "a_refused_leader_leaks_its_flight",
        "what was built for nothing is not destroyed",
        [(CORE, "~unseen_flight() { «delete flight_;» }", "if (!BUG) { $OLD }")],
    ),
    # ---- superseded flights: rules 47, 49, 50
    Bug(
        "superseded_and_still_found",
        "who calls after a write gets what was read before it",
        [(CORE, "s.table.hide(f, f.id_);", "if (!BUG) { $OLD }"), (CORE, "«s.table.unhide();»\n    else", "{ if (!BUG) { $OLD } }")],
    ),
    Bug(
        "a_superseded_flight_is_cancelled",
        "its waiters lose a result that was good enough for them",
        [
            (
                CORE,
                "supersede(s, *f);\n    give_back_key(s);\n    return true;",
                """if (BUG) return f->why_.load() == cause::open && (end = doom(s, *f, cause::cancelled), lock.unlock(), conclude(end), true);
    $OLD""",
            ),
            (CORE, "shards_.of(hash);\n    «P::point(core_step::supersede);\n    std::scoped_lock lock(s.mutex);»", """P::point(core_step::supersede);
    closing end;
    std::unique_lock lock(s.mutex);"""),
        ],
    ),
    Bug(
        "superseded_flights_are_not_cleared",
        "they outlive their group, and their callers wait for tasks that nobody stops",
        [(CORE, "closing const end = doom(s, f, why", "if (BUG && f.superseded_) return;\n        $OLD")],
    ),
    Bug(
        "a_superseded_flight_keeps_its_key",
        "the cap counts flights that nobody can join",
        [
            (CORE, "supersede(s, *f);\n    «give_back_key(s);»\n    return true;", "if (!BUG) { $OLD }"),
            (CORE, "if (f.superseded_) [[unlikely]] «s.table.unhide();»", "{ $OLD if (BUG) give_back_key(s); }"),
        ],
    ),
    Bug(
        "a_superseded_flight_gives_its_key_back_twice",
        "more keys in flight than the cap",
        [(CORE, "if (f.superseded_) [[unlikely]] «s.table.unhide();»", "{ $OLD if (BUG) give_back_key(s); }")],
    ),
    # ---- the end of a group's work: rules 58, 59
    Bug(
        "a_closed_group_still_leads",
        "a server that shuts down starts work that nobody will see the end of",
        [(CORE, "(s.gone || «!inside»)", "(!BUG && $OLD)")],
    ),
    Bug(
        "a_closed_group_refuses_what_its_tasks_need",
        "tasks that were admitted fail while the group drains",
        [(CORE, "(s.gone || «!inside»)", "(BUG || $OLD)")],
    ),
    Bug(
        "who_drains_waits_for_a_flight_that_is_not_counted",
        "the drain lasts until its time is over",
        [(CORE, "&& «s.who_leads != door::watched») {", "(BUG || $OLD)")],
    ),
    Bug(
        "a_drain_that_does_not_wait_for_what_tasks_start",
        "it ends while a flight is up",
        [(CORE, "owner.retain();\n    «alive_.fetch_add(1, std::memory_order_relaxed);»", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "a_drain_ends_before_all_parts_were_counted",
        "it ends while a flight of another part is up",
        [(CORE, "std::atomic<std::int64_t> alive_{«1»}", "BUG ? 0 : $OLD"), (CORE, "«(void)ended();»\n  }", "{ if (!BUG) { $OLD } }")],
        by_schedule=True,
    ),
    Bug(
        "a_drain_ends_twice",
        "its callers are answered a second time, in memory that they have given back",
        [(CORE, "if (!up_ || «claimed()»)", "(!BUG && $OLD)")],
    ),
    Bug(
        "time_is_over_and_all_is_said_to_be_quiet",
        "what tasks use is destroyed under them",
        [(CORE, "doom_all(cause::drained);\n    drains_.finish(f, «false»)", "BUG || $OLD")],
    ),
    Bug(
        "a_group_goes_and_leaves_who_drains_behind",
        "they wait for ever",
        [(CORE, "if («drain») drains_.finish(*drain, false);", "!BUG && $OLD")],
    ),
    Bug(
        "a_tie_of_the_clock_counts_as_later",
        "not_before joins a flight that may have begun before the write",
        [(CORE, "|| «f->started_.time_since_epoch() <= *c.rare->not_before»", "(BUG ? f->started_.time_since_epoch() < *c.rare->not_before : $OLD)")],
    ),
    Bug(
        "superseded_in_a_step_before_it_is_clear_that_the_call_leads",
        "a call that is refused at the cap has taken the flight away from those who come",
        [
            (
                CORE,
                "P::point(core_step::enter);",
                """$OLD
      if (BUG && dated && fresh.flight_) {
        std::scoped_lock lock(s.mutex);
        flight_type* const early = s.table.find(c.hash, same);
        if (early && early->started_.time_since_epoch() <= *c.rare->not_before) supersede(s, *early), give_back_key(s);
      }
      if (BUG) P::point(core_step::enter);""",
            )
        ],
        by_schedule=True,
    ),
    Bug(
        "the_leaders_metadata_is_the_joiners",
        "a trace links a span to itself",
        [
            (
                CORE,
                "f->id_, waiters, metadata_of(c, fresh),\n                         «announcer<P>::metadata_of(*f)»",
                "BUG ? metadata_of(c, fresh) : $OLD",
            )
        ],
    ),
    # ---- what a task can ask: rule 48
    Bug(
        "a_context_is_not_cut_off",
        "what a task has kept reads its flight when that is gone",
        [("detail/flight_view.hpp", "if (view_) view_->cut();", "if (!BUG) { $OLD }")],
    ),
    Bug(
        "the_first_who_leaves_is_taken_for_the_last",
        "a statement is given up while somebody waits for it",
        [(CORE, "if (time_point const until = s.deadlines.when(w); «until > latest») latest = until;", "BUG ? until < latest || latest == (time_point::min)() : $OLD")],
    ),
]
