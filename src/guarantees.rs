//! What is promised, and by which tests each promise is held.
//!
//! This page holds no code of the library. The tests are named as sentences, so that the lists can be read; most of
//! them run on the real kernel (`tests/`), and those of `src/machine/` drive what decides through every reachable state
//! of small worlds. The files are in the repository; what is published has those of `src/` alone. A test of its own
//! sees to it that every name here is a test that exists.
//!
//! What is *not* promised is said on [the first page](crate#what-is-not), and what each tier holds at
//! [`Containment`](crate::Containment).
//!
//! # 1. Nobody is called dead who may live
//!
//! A process leaves the registry only when the kernel says that it is dead: never because a signal was sent, a time has
//! passed, or an `errno` looked like it. That a signal to a group has succeeded proves nothing, and neither does its
//! `ESRCH`.
//!
//! * `tests/ending.rs`: `a_child_that_was_sent_a_sigterm_by_someone_else_is_not_taken_for_gone`
//! * `tests/survivors.rs`: `a_kill_that_is_not_permitted_is_a_survivor_that_stays_tracked`,
//!   `a_member_that_dies_only_after_the_deadline_has_its_exit_delivered_late`
//! * `tests/waiting.rs`: `a_zombie_that_a_tracer_holds_hangs_nobody_and_names_the_tracer`
//! * `tests/sweep.rs`: `only_confirmed_deaths_are_counted`
//! * `src/machine/tests/explorer.rs`: `strangers_tracers_and_stolen_statuses`,
//!   `two_sessions_three_processes_two_callers`
//! * `src/machine/tests/properties.rs`: `any_bytes_are_a_run`
//!
//! # 2. A clean report means that nobody is left
//!
//! [`end_session`](crate::Registry::end_session) returns a clean report only when no process of the session lives, at
//! the [strength](crate::Strength) that the report states. What does not die is reported by name and
//! [cause](crate::SurvivalCause), stays tracked, is killed again by the next end of its number, and its late exit is
//! still delivered. After a shutdown nobody is left to track it: who waits for a survivor gets
//! [`ShutDown`](crate::ErrorKind::ShutDown).
//!
//! * `tests/tree_group.rs`: `a_daemon_is_ended_with_its_session_however_it_was_started`,
//!   `a_fork_bomb_that_scatters_is_dead_after_one_end`,
//!   `a_daemon_without_its_limit_and_all_else_is_not_found_and_not_claimed_as_proven`,
//!   `a_leader_tier_session_leaves_descendants_alone`
//! * `tests/tree_daemons.rs`: `nginx_is_ended_with_its_session`, `redis_is_ended_with_its_session`
//! * `tests/tree_comets.rs`: `comets_are_dead_after_a_clean_report`,
//!   `a_machine_on_which_processes_come_and_go_all_the_time_is_no_excuse`
//! * `tests/tree_dying.rs`: `who_exits_slowly_is_not_called_gone_before_it_is_dead`,
//!   `whose_parent_exits_slowly_is_ended_and_not_taken_for_a_stranger`,
//!   `a_daemon_without_its_first_thread_is_ended_with_its_session`
//! * `tests/linux/tree_cgroup.rs`: `who_cannot_leave_is_proven_to_be_gone`,
//!   `who_could_leave_is_only_observed_to_be_gone`,
//!   `a_member_that_leaves_a_delegated_cgroup_is_ended_and_nothing_is_proven`
//! * `tests/tree_subreaper.rs`: `a_session_that_is_the_only_one_is_proven_to_be_gone`,
//!   `beside_another_session_nothing_is_proven`,
//!   `an_orphan_that_nothing_names_lowers_what_others_claim_and_goes_with_the_last`
//! * `tests/survivors.rs`: `survivors_of_an_ended_session_are_killed_and_reported_again`,
//!   `one_member_of_a_group_under_another_user_lowers_what_is_claimed`
//! * `tests/waiting.rs`: `waiters_for_a_survivor_are_told_of_the_shutdown`
//! * `tests/linux/torture/mod.rs`: `whatever_is_done_at_random_the_model_holds`
//! * `src/machine/tests/explorer.rs`: `descendants_that_hide_fork_and_are_met_or_missed`,
//!   `descendants_in_cgroups_that_they_leave_or_do_not`, `orphans_that_come_to_a_subreaper`,
//!   `survivors_that_linger_while_their_number_lives_again`
//!
//! # 3. No stranger is signalled
//!
//! On Linux no signal is sent to a process whose identity is not held at that moment, by its pidfd or by being our own
//! child that nobody has reaped. A recycled pid is never signalled; nor is pid 1, this process, or its own group. On
//! macOS and FreeBSD a process that is not a child cannot be held: it is checked just before each signal, and a window
//! of microseconds remains ([`attach`](crate::Registry::attach)). So it is, on FreeBSD under
//! [`Subreaper`](crate::Containment::Subreaper), for the group of a leader that was reaped.
//!
//! * `tests/identity.rs`: `a_stranger_with_the_pid_of_a_dead_child_is_never_signalled`,
//!   `a_stranger_with_the_pid_of_a_stolen_child_is_never_signalled`,
//!   `a_stranger_with_the_pid_of_an_attached_process_is_never_signalled`,
//!   `an_attached_processs_group_is_never_signalled`, `the_hosts_own_group_is_never_signalled`
//! * `tests/tree_hostile.rs`: `a_framed_orphan_of_pid_1_that_was_there_before_lives`, `a_framed_family_of_strangers_lives`,
//!   `a_member_in_the_group_of_a_stranger_is_ended_and_the_group_is_not`
//! * `tests/linux/identity_under_fire.rs`: `a_stranger_on_a_reused_number_is_never_signalled`
//! * `tests/recovery_identity.rs`: `a_reused_number_is_not_the_owner`,
//!   `a_reused_number_is_not_the_process_that_was_written_down`
//! * `tests/sweep_owners.rs`: `a_rule_for_everything_matches_neither_host_nor_ancestors_nor_what_is_registered`
//! * `src/sys/linux/tests/reuse.rs`: `a_stranger_with_a_reused_number_is_neither_signalled_nor_taken_for_the_old_one`
//! * `src/sys/linux/tests/signals.rs`: `init_and_this_process_are_refused_alone_and_as_a_group`,
//!   `the_group_that_this_process_is_in_is_refused_and_its_leader_alone_is_not`
//!
//! # 4. One exit for each process
//!
//! There is exactly one [`Exited`](crate::EventKind::Exited) for each process, also when someone else reaped it, when
//! SIGCHLD is ignored, or when it died before we looked.
//!
//! * `tests/events.rs`: `started_comes_first_and_one_exited_last_for_each_process`
//! * `tests/crowds.rs`: `children_that_die_before_they_are_registered_are_started_once_and_exited_once`,
//!   `a_thousand_exits_at_once_are_all_told`
//! * `tests/waiting.rs`: `a_status_that_someone_else_took_is_told_once`,
//!   `children_that_are_waited_for_by_someone_else_are_each_told_once`, `exits_are_told_while_sigchld_is_ignored`,
//!   `exits_are_told_under_sa_nocldwait`
//! * `tests/identity.rs`: `a_zombie_that_is_adopted_has_its_exit_told`
//! * `tests/tree_subreaper.rs`: `statuses_are_told_while_every_child_is_waited_for`
//! * `tests/linux/torture/mod.rs`: `whatever_is_done_at_random_the_model_holds`,
//!   `an_exit_that_is_not_told_is_found`, `an_exit_that_is_told_twice_is_found`
//! * `src/machine/tests/explorer.rs`: `strangers_tracers_and_stolen_statuses`
//!
//! # 5. One grace, and it is kept
//!
//! Grace is absolute, on the monotonic clock, and one for the whole session. A second caller joins the end and gets the
//! same report; a stricter one shortens it. What exited within its grace is not escalated, also when we look late; what
//! still lives past the deadline is, once.
//!
//! * `tests/ending.rs`: `a_child_that_ignores_sigterm_is_escalated_once_at_the_deadline`,
//!   `a_sigterm_handler_that_never_finishes_does_not_move_the_deadline`,
//!   `callers_that_end_the_same_session_get_one_ladder_and_one_report`, `the_stricter_policy_wins_whoever_comes_first`,
//!   `a_stop_within_an_end_shortens_the_end_of_its_process_alone`
//! * `tests/crowds.rs`: `stubborn_children_of_one_session_share_one_grace_time`,
//!   `stubborn_children_of_many_sessions_share_one_grace_time`
//! * `tests/hosts.rs`: `a_host_that_was_stopped_escalates_only_what_outlived_its_grace`,
//!   `a_wall_clock_that_jumps_moves_no_deadline`
//! * `src/machine/tests/ladders.rs`: `what_is_late_by_several_rungs_is_killed_once_and_nothing_else`,
//!   `a_stricter_policy_shortens_and_a_laxer_one_changes_nothing`
//!
//! # 6. Who comes late to an end is ended with the rest
//!
//! A session that is ending accepts no new process: a spawn that raced the end fails, and its child is ended with the
//! rest.
//!
//! * `tests/racing.rs`: `a_spawn_that_races_an_end_is_refused_or_ended_with_the_rest`,
//!   `spawns_that_race_a_shutdown_leave_nothing`, `a_spawn_still_in_flight_past_the_deadline_is_reported`
//! * `tests/launching_races.rs`: `a_launch_that_hangs_before_exec_is_ended_with_its_session`,
//!   `launches_that_race_an_end_are_refused_or_ended_with_the_rest`,
//!   `what_a_launch_that_an_end_overtakes_has_started_is_ended`
//! * `src/machine/tests/explorer.rs`: `a_spawn_in_flight_and_a_number_that_lives_again`
//!
//! # 7. Nothing runs between two exits
//!
//! Between two exits the library costs no CPU: it wakes up for a deadline that was asked for, or for a reaper's
//! interval, and for nothing else.
//!
//! * `tests/hosts.rs`: `an_idle_registry_has_one_thread_and_does_not_wake_up`
//! * `tests/reaper.rs`: `a_reaper_of_an_hour_sleeps_between_two_passes`
//! * `tests/waiting.rs`: `a_zombie_that_a_tracer_holds_costs_no_processor_time`
//!
//! # 8. An end works when nothing else does
//!
//! Ending what is registered needs no new descriptor and no fork: it works at `EMFILE` and `EAGAIN`. Looking for
//! descendants does need some; where there are none the groups are signalled, and the report claims less. What kills
//! and watches a cgroup is opened when that is made.
//!
//! * `tests/linux/faults.rs`: `sessions_are_ended_without_a_free_descriptor`,
//!   `sessions_are_ended_while_nothing_can_be_forked`
//! * `tests/tree_group.rs`: `an_end_without_a_free_descriptor_is_clean_and_claims_less`
//! * `tests/linux/tree_cgroup.rs`: `an_end_without_a_free_descriptor_is_proven_all_the_same`,
//!   `of_who_is_outside_nothing_is_claimed_without_a_free_descriptor`
//!
//! # 9. A failed spawn leaves nothing
//!
//! No zombie, no record, no event, no descriptor, no slot, no cgroup. One exception: a program of std's command that had
//! begun before it turned out that it could not be held is killed, and what it has started by then is its session's, which
//! lives from then on, in its cgroup if it has one, until it is ended.
//!
//! * `tests/spawning.rs`: `a_program_that_cannot_be_started_is_named_and_nothing_else_happened`,
//!   `a_failed_spawn_leaves_no_descriptor`, `a_failed_spawn_holds_no_slot`
//! * `tests/linux/faults.rs`: `a_spawn_that_runs_out_of_descriptors_at_any_step_leaves_nothing`,
//!   `a_spawn_that_cannot_fork_leaves_nothing`, `a_spawn_that_cannot_be_watched_leaves_nothing`,
//!   `what_a_program_has_started_whose_spawn_fails_is_ended_with_its_session`
//! * `tests/linux/launching_faults.rs`: `a_step_that_fails_is_named_and_nothing_is_left`,
//!   `every_call_of_a_launch_that_is_refused_leaves_nothing`
//! * `tests/linux/cgroup_directories.rs`: `a_failed_spawn_leaves_no_cgroup`
//! * `tests/ledger.rs`: `a_spawn_that_fails_is_cancelled`
//! * `tests/linux/torture/mod.rs`: `whatever_is_done_at_random_the_model_holds`,
//!   `a_descriptor_that_is_left_open_is_found`
//!
//! # 10. The host's process stays the host's
//!
//! Nothing in here installs a signal handler, changes the signal mask of the host's threads for longer than a spawn,
//! raises a limit, calls `waitpid(-1)`, or reaps a child that it was not given. Under
//! [`Builder::subreaper`](crate::Builder::subreaper) the host has handed its children over: there any child is waited
//! for, and what nobody holds is reaped.
//!
//! * `tests/hosts.rs`: `nothing_of_the_hosts_process_is_changed`
//! * `tests/spawning.rs`: `a_child_inherits_no_descriptor_and_no_signal_handling_of_the_library`
//! * `tests/identity.rs`: `an_attached_process_is_ended_and_left_to_its_parent`
//! * `tests/tree_subreaper.rs`: `the_tier_needs_consent`, `after_the_registry_orphans_go_where_they_went_before`
//!
//! # 11. A forked copy does nothing
//!
//! After the host forks without exec, the copy in the child does nothing: it ends nothing when it is dropped, writes
//! nothing, and its calls say [`ReactorGone`](crate::ErrorKind::ReactorGone).
//!
//! * `tests/hosts.rs`: `a_fork_without_exec_that_drops_its_copy_ends_nothing`,
//!   `a_fork_without_exec_that_uses_its_copy_reaches_nobody`
//! * `tests/sessions.rs`: `a_copy_of_a_guard_in_a_forked_child_ends_nothing`
//! * `tests/collecting.rs`: `a_copy_of_a_collector_in_a_forked_child_closes_nothing`
//! * `tests/ledger.rs`: `a_copy_in_a_forked_child_writes_nothing`
//! * `tests/reaper.rs`: `a_reaper_in_a_forked_copy_does_nothing`
//!
//! # 12. What a dead host left is found
//!
//! The host's death is covered as far as the kernel allows: a child can be told to die with it
//! ([`Command::parent_death_signal`](crate::Command::parent_death_signal)), and every process says by its marks, and
//! the [ledger](crate::Builder::ledger) besides, whose it is. What is left is found by
//! [`recover`](crate::Registry::recover) in the next run, and ended or taken over. What leaves doubt is left alone, and
//! reported.
//!
//! * `tests/recovery.rs`: `what_a_killed_host_left_is_ended`, `without_a_ledger_the_marks_alone_tell`,
//!   `what_has_no_mark_at_all_is_ended_by_the_ledger`,
//!   `a_host_that_is_killed_at_any_moment_leaves_nothing_that_is_not_found`, `a_host_that_lives_keeps_its_own`,
//!   `a_limit_mark_of_which_nothing_says_whose_it_is_is_left_alone`,
//!   `what_was_detached_is_left_alone_by_ends_and_by_recovery`
//! * `tests/recovery_lives.rs`: `what_two_lives_of_a_number_left_is_ended_and_told_apart`
//! * `tests/recovery_again.rs`: `what_was_taken_over_starts_is_its_sessions`, `a_reaper_leaves_a_recovery_to_itself`,
//!   `who_outlived_a_recovery_is_not_forgotten_by_the_next`, `more_than_there_are_descriptors_is_ended_in_batches`
//! * `tests/linux/recovery_tiers.rs`: `what_a_killed_host_left_in_cgroups_is_ended_and_they_are_removed`,
//!   `a_contained_host_killed_at_any_moment_leaves_nothing`, `what_a_killed_subreaper_left_is_known_by_its_marks`
//! * `tests/linux/hanging.rs`: `what_a_dead_host_left_and_cannot_be_read_is_ended_by_the_ledger_alone`
//! * `tests/launching.rs`: `the_parents_death_is_the_childs`, `the_end_of_the_calling_thread_is_not_the_parents_death`
//! * `tests/linux/cgroup_directories.rs`: `what_a_dead_host_left_empty_is_removed_and_a_living_ones_is_not`
//! * `tests/examples.rs`: `agent_host_ends_what_it_left_when_it_was_killed`
