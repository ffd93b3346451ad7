//! What steps do, and where a run goes from them: flows that use much at once. Each branch by itself is told in
//! `flow-svc/tests/it`.

use serde_json::json;

use super::{records, start, steps};
use crate::support::TestMesh;

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

databases!(a_step_invokes_an_action, |mesh: TestMesh| async move {
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
