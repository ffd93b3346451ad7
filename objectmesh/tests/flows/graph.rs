//! What steps do, and where a run goes from them.

use serde_json::json;

use super::{records, start, steps};
use crate::support::TestMesh;

databases!(a_fault_edge_leads_on, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("ann", "agent").await;
    let run = start(&mesh, &agent, "with_faults", json!({"subject": "Fine"})).await;
    assert_eq!(run["output"]["said"], "made Fine", "{run:#}");
    assert_eq!(
        steps(&run),
        ["start success", "make success", "fine success"]
    );
    let run = start(&mesh, &agent, "with_faults", json!({})).await;
    assert_eq!(run["output"]["said"], "make: VALIDATION_ERROR", "{run:#}");
    assert_eq!(run["status"], "completed");
    assert_eq!(
        steps(&run),
        ["start success", "make failure", "sorry success"]
    );
    assert_eq!(run["steps"][1]["error"]["code"], "NODE_FAILURE");
});

databases!(a_list_of_steps_runs, |mesh: TestMesh| async move {
    let (_, tasker) = mesh.user("tom", "tasker").await;
    for (tag, count, cost, branch) in [("A", 3, 100, "more"), ("B", 2, 10, "less")] {
        let input = json!({"tag": tag, "count": count});
        let run = start(&mesh, &tasker, "listed", input).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        let branch = format!("{branch} success");
        let expected = [
            "made success",
            "read success",
            "many success",
            &branch,
            "bad failure",
            "flaky failure",
            "flaky success",
            "each success",
            "inner success",
            "closing success",
            "finish success",
        ];
        assert_eq!(steps(&run), expected, "{run:#}");
        assert_eq!(run["steps"][6]["retryAttempt"], 1);
        assert_eq!(run["output"], json!({"tries": 2, "twice": count * 2}));
        let first = records(&mesh, "task", "name", &format!("{tag} first")).await;
        assert_eq!(
            (&first[0]["cost"], &first[0]["hours"]),
            (&json!(cost), &json!(count * 2))
        );
        let tries = records(&mesh, "task", "name", &format!("{tag} try")).await;
        assert_eq!(tries.len(), 2);
    }
});

databases!(
    loops_and_branches_share_what_they_set,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let input = json!({"tag": "L", "names": ["x", "y"]});
        let run = start(&mesh, &tasker, "loops", input).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(
            run["output"],
            json!({"last": "L 1 y", "a": "AL", "b": "BL"}),
            "{run:#}"
        );
        let made: Vec<_> = run["steps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|step| step["nodeId"] == "make")
            .collect();
        assert_eq!(
            (&made[0]["iteration"], &made[1]["iteration"]),
            (&json!(0), &json!(1))
        );
        for name in ["L 0 x", "L 1 y", "L left", "L right", "L after"] {
            assert_eq!(
                records(&mesh, "task", "name", name).await.len(),
                1,
                "{name}"
            );
        }
    }
);

databases!(
    a_run_leads_back_and_is_run_again,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let run = start(&mesh, &tasker, "counts_down", json!({"n": 3})).await;
        assert_eq!(run["output"], json!({"n": 0}), "{run:#}");
        assert_eq!(run["steps"].as_array().unwrap().len(), 1 + 2 * 3 + 1);
        let run = start(&mesh, &tasker, "tries_again", json!({"tag": "again"})).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["output"], json!({"tries": 3}), "{run:#}");
        assert_eq!(records(&mesh, "task", "name", "again").await.len(), 3);
        let last = run["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(last["retryAttempt"], 2);
    }
);

sizes!(a_step_invokes_an_action, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("ann", "agent").await;
    let body = json!({"subject": "To be closed"});
    let ticket = mesh.post(&agent, "/data/ticket", body).await.ok(201);
    let run = start(
        &mesh,
        &agent,
        "close_by_action",
        json!({"ticketId": ticket["id"]}),
    )
    .await;
    assert_eq!(run["output"]["closed"]["closed"], true, "{run:#}");
    let path = format!("/data/ticket/{}", ticket["id"].as_str().unwrap());
    assert_eq!(mesh.get(&agent, &path).await.ok(200)["status"], "closed");
});

databases!(
    a_run_goes_on_after_a_failure_as_it_says,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let run = start(&mesh, &tasker, "continues", json!({})).await;
        assert_eq!(
            steps(&run),
            ["start success", "bad failure", "after success"]
        );
        assert_eq!(
            (&run["status"], &run["output"]["said"]),
            (&json!("completed"), &json!("bad failed"))
        );
        let run = start(&mesh, &tasker, "falls_back", json!({})).await;
        assert_eq!(
            steps(&run),
            ["start success", "bad failure", "sorry success"]
        );
        assert_eq!(
            (&run["status"], &run["output"]["said"]),
            (&json!("completed"), &json!("sorry"))
        );
    }
);

databases!(
    a_step_ends_in_time_and_subflows_somewhere,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let run = start(&mesh, &tasker, "too_slow", json!({})).await;
        assert_eq!(
            (&run["status"], &run["error"]["code"]),
            (&json!("failed"), &json!("TIMEOUT")),
            "{run:#}"
        );
        let run = start(&mesh, &tasker, "endless", json!({})).await;
        assert_eq!(run["error"]["code"], "EXECUTION_ERROR", "{run:#}");
        assert_eq!(steps(&run), ["start success", "again failure"]);
    }
);

databases!(
    lists_of_steps_loop_and_branch,
    |mesh: TestMesh| async move {
        let (_, planner) = mesh.user("pia", "planner").await;
        let input = json!({"tag": "S", "names": ["x", "y"]});
        let run = start(&mesh, &planner, "listed_loops", input).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["output"], json!({"wiped": 1}));
        for (name, count) in [("S x", 1), ("S y", 1), ("S right", 1), ("S left", 0)] {
            assert_eq!(
                records(&mesh, "task", "name", name).await.len(),
                count,
                "{name}"
            );
        }
    }
);

databases!(
    branches_join_as_often_as_they_part,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let run = start(&mesh, &tasker, "several_ways", json!({"n": 2})).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        // For 2 both conditions hold, for 1 the first one, for 0 none.
        assert_eq!(run["output"]["way"], "abac", "{run:#}");
        let joined = steps(&run)
            .iter()
            .filter(|step| *step == "join success")
            .count();
        assert_eq!(joined, 3);
    }
);

databases!(
    a_loop_that_is_tried_again_begins_anew,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let input = json!({"tag": "R", "names": ["x", "y"]});
        let run = start(&mesh, &tasker, "retried_loop", input).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["output"]["last"], 2, "{run:#}");
        let of = |node: &str| -> Vec<String> {
            let node = format!("{node} ");
            steps(&run)
                .into_iter()
                .filter(|step| step.starts_with(&node))
                .collect()
        };
        assert_eq!(of("each"), ["each failure", "each success"]);
        let (fine, bad) = ("check success", "check failure");
        assert_eq!(of("check"), [fine, bad, fine, fine]);
        for name in ["R x", "R y"] {
            assert_eq!(
                records(&mesh, "task", "name", name).await.len(),
                2,
                "{name}"
            );
        }
    }
);
