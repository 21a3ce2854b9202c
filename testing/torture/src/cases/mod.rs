//! The cases, by what is tortured.

mod c_locks;
mod c_state;
mod crates;
mod depth;
mod identity;
mod libraries;
mod processes;
mod signals;
mod std_sync;
mod thread_locals;
mod threads;
mod unwinding;

/// A function that panics if something is wrong. It runs on a goroutine.
#[derive(Debug)]
pub struct Case {
    /// The name of the function, a sentence.
    pub name: &'static str,
    /// The function.
    pub run: fn(),
}

/// The payload of panics that cases make on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected(pub usize);

/// Calls a macro with all cases, as `module::name, ...`.
#[macro_export]
macro_rules! for_each_case {
    ($with:ident) => {
        $with! {
            thread_locals::a_dependency_keeps_its_count,
            thread_locals::a_borrow_is_held_across_parks,
            thread_locals::random_numbers_never_repeat,
            thread_locals::a_scoped_thread_local_is_the_goroutines,
            thread_locals::destructors_run_once_and_may_park,
            thread_locals::destructors_may_touch_other_thread_locals,
            thread_locals::a_hash_map_keeps_its_keys,
            unwinding::a_drop_parks_while_it_unwinds,
            unwinding::a_panic_stays_in_its_goroutine,
            unwinding::a_backtrace_ends_at_the_base,
            identity::a_thread_id_is_stable_and_unique,
            identity::goroutines_change_their_thread,
            identity::settings_of_the_thread_can_be_read,
            identity::a_locked_goroutine_stays_on_its_thread,
            identity::blocking_calls_keep_what_is_the_goroutines,
            threads::threads_are_spawned_and_joined,
            threads::threads_borrow_in_a_scope,
            threads::a_goroutine_parks_as_a_thread,
            threads::lines_are_printed,
            threads::files_and_sockets_of_std_work,
            std_sync::locks_are_shared_with_threads,
            std_sync::guards_are_held_across_parks,
            std_sync::condition_variables_and_barriers_meet_threads,
            std_sync::std_channels_meet_threads,
            std_sync::lazy_values_are_made_once,
            processes::commands_run,
            processes::a_command_with_pre_exec_runs,
            processes::children_of_gort_are_waited_for,
            processes::a_forked_child_can_exec,
            processes::a_forked_child_can_go_on,
            processes::names_are_looked_up,
            processes::ids_are_set_from_goroutines,
            processes::ids_are_set_from_a_thread,
            processes::a_goroutine_ends_the_process,
            libraries::late_thread_locals_are_the_goroutines,
            libraries::late_thread_locals_at_fixed_offsets_reach_all,
            c_state::errno_is_the_goroutines,
            c_state::thread_variables_are_the_goroutines,
            c_state::strtok_goes_on,
            c_state::ctype_tables_stay,
            c_state::a_locale_is_the_goroutines,
            c_state::strerror_keeps_its_text,
            c_state::dlerror_keeps_its_text,
            c_state::longjmp_finds_its_way,
            c_state::a_stream_is_locked_across_parks,
            c_state::qsort_parks_in_its_comparator,
            c_state::keys_are_the_goroutines_and_destroyed,
            c_locks::a_recursive_mutex_has_one_owner,
            c_locks::a_c11_mutex_has_one_owner,
            c_locks::a_checked_mutex_knows_its_owner,
            c_locks::a_rwlock_knows_its_writer,
            c_locks::priority_inheritance_works_or_is_refused,
            c_locks::robust_mutexes_work,
            c_locks::semaphores_and_timed_locks_work,
            signals::a_handler_sees_its_goroutine,
            signals::a_storm_of_signals_does_no_harm,
            crates::tracing_spans_are_held_across_parks,
            crates::rayon_works_from_goroutines,
            crates::tokio_blocks_on_futures,
            crates::regexes_match,
            crates::epochs_are_pinned,
            crates::a_dashmap_keeps_its_entries,
            crates::locks_of_parking_lot_work,
            depth::a_handshake_fits_on_the_stack,
            depth::a_large_regex_compiles_on_the_stack,
            depth::json_of_depth_128_fits_on_the_stack,
        }
    };
}

macro_rules! table {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        /// All cases.
        pub const CASES: &[Case] = &[$(Case { name: stringify!($name), run: $module::$name }),+];
    };
}
for_each_case!(table);
