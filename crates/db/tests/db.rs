//! The database layer: one suite, run on SQLite always and on PostgreSQL when `TEST_POSTGRES_URL`
//! is set (`deploy/test-services.sh start`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "db/bed.rs"]
mod bed;
#[path = "db/errors.rs"]
mod errors;
#[path = "db/leases.rs"]
mod leases;
#[path = "db/migrations.rs"]
mod migrations;
#[path = "db/queue.rs"]
mod queue;
#[path = "db/reads.rs"]
mod reads;
#[path = "db/sqlite_only.rs"]
mod sqlite_only;
#[path = "db/values.rs"]
mod values;
#[path = "db/writes.rs"]
mod writes;

macro_rules! suite {
    ($($module:ident::$test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                let bed = crate::bed::Bed::sqlite().await;
                crate::$module::$test(&bed).await;
                bed.clean().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                let Some(bed) = crate::bed::Bed::postgres(stringify!($test)).await else {
                    return;
                };
                crate::$module::$test(&bed).await;
                bed.clean().await;
            })*
        }
    };
}

suite! {
    values::every_type_comes_back,
    values::nulls_keep_their_type,
    values::json_is_json_whatever_the_column_says,
    values::numbers_convert_where_nothing_is_lost,
    values::what_only_one_database_could_store_is_refused,
    values::placeholders_go_by_number,
    values::a_list_fits_one_placeholder,
    errors::constraints_are_told_apart,
    errors::wrong_columns_and_missing_rows,
    errors::a_slow_statement_is_stopped,
    errors::a_closed_database_is_unavailable,
    errors::display_holds_no_values,
    reads::a_read_sees_one_snapshot,
    reads::a_read_cannot_write,
    reads::a_panicking_mapper_costs_nobody_a_connection,
    reads::more_readers_than_connections,
    reads::a_changed_table_is_read_at_once,
    writes::a_failed_nested_part_is_undone_alone,
    writes::a_swallowed_refusal_is_not_committed,
    writes::parallel_writers_all_commit,
    writes::a_failing_job_harms_nobody,
    writes::a_panicking_job_harms_nobody,
    writes::a_stopped_statement_harms_nobody,
    writes::a_late_foreign_key_fails_only_its_job,
    writes::a_caller_that_leaves_does_not_stop_its_write,
    writes::two_writes_in_each_others_way_both_succeed,
    writes::execute_counts_rows,
    writes::a_changed_table_is_written_at_once,
    writes::close_lets_writes_finish,
    migrations::run_once_and_only_once,
    migrations::an_edited_migration_is_refused,
    migrations::a_refused_migration_leaves_nothing,
    migrations::two_processes_at_once,
    leases::one_of_two_holds_it,
    leases::the_fence_rises_with_each_change_of_holder,
    leases::many_race_and_one_wins,
    leases::a_holder_paused_beyond_its_lease_changes_nothing,
    leases::work_is_stopped_when_its_lease_is_lost,
    leases::another_takes_over,
    queue::a_job_is_claimed_by_one_and_gone_when_it_is_done,
    queue::a_claim_that_was_lost_changes_nothing,
    queue::a_job_is_claimed_held_and_put_off_in_transactions,
    queue::long_work_keeps_its_claim_and_ends_when_it_is_lost,
    queue::a_job_that_is_put_off_is_done_when_it_is_due,
    queue::what_fails_is_tried_again_then_kept_as_a_dead_letter,
    queue::ten_workers_that_are_killed_do_each_job_once,
    queue::claims_scan_an_index_however_much_is_due,
}
