//! Groups and aggregations: the same figures on both databases, over what the caller may read.

use crate::support::TestMesh;
use serde_json::{Value, json};

async fn tickets(mesh: &TestMesh, token: &str) {
    let records = [
        json!({"subject": "a", "status": "open", "priority": 1, "cost": 10.10, "weight": 0.5,
            "due_on": "2025-12-31", "due_at": "2025-12-31T23:30:00Z", "urgent": true}),
        json!({"subject": "b", "status": "open", "priority": 2, "cost": 20.20, "weight": 1.5,
            "due_on": "2026-01-01", "due_at": "2026-01-01T00:30:00Z", "urgent": true}),
        json!({"subject": "c", "status": "closed", "priority": 2, "cost": 0.30,
            "due_on": "2026-03-07", "due_at": "2026-03-07T14:05:00Z"}),
        json!({"subject": "d", "status": "closed"}),
    ];
    for record in records {
        mesh.post(token, "/data/ticket", record).await.ok(201);
    }
}

async fn rows(mesh: &TestMesh, token: &str, query: Value) -> Vec<Value> {
    let answer = mesh.post(token, "/data/ticket/query", query).await.ok(200);
    assert_eq!(answer["nextCursor"], Value::Null);
    answer["items"].as_array().expect("items").clone()
}

databases!(
    groups_are_counted_and_added_up,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        tickets(&mesh, &agent).await;
        let query = json!({
            "groupBy": ["status"],
            "aggregations": [
                {"function": "count", "alias": "n"},
                {"function": "count", "field": "cost", "alias": "priced"},
                {"function": "sum", "field": "cost", "alias": "total"},
                {"function": "avg", "field": "cost", "alias": "mean"},
                {"function": "min", "field": "due_on", "alias": "first"},
                {"function": "max", "field": "due_at", "alias": "last"},
                {"function": "sum", "field": "priority", "alias": "priorities"},
                {"function": "sum", "field": "weight", "alias": "weight"},
                {"function": "count_distinct", "field": "priority", "alias": "kinds"},
                {"function": "sum", "field": "cost", "alias": "dear", "filter": {"cost": {"$gt": 15}}},
                {"function": "count", "alias": "urgent", "filter": {"urgent": true}},
            ],
            "orderBy": [{"field": "total", "order": "desc"}],
        });
        assert_eq!(
            rows(&mesh, &agent, query).await,
            [
                json!({"status": "open", "n": 2, "priced": 2, "total": 30.3, "mean": 15.15,
                "first": "2025-12-31", "last": "2026-01-01T00:30:00.000Z", "priorities": 3,
                "weight": 2, "kinds": 2, "dear": 20.2, "urgent": 2}),
                json!({"status": "closed", "n": 2, "priced": 1, "total": 0.3, "mean": 0.3,
                "first": "2026-03-07", "last": "2026-03-07T14:05:00.000Z", "priorities": 2,
                "weight": 0, "kinds": 1, "dear": 0, "urgent": 0}),
            ]
        );
        // Without groups there is one row, also of nothing.
        let query = json!({"where": {"subject": "nobody"}, "aggregations": [
            {"function": "count", "alias": "n"},
            {"function": "sum", "field": "cost", "alias": "total"},
            {"function": "avg", "field": "cost", "alias": "mean"},
            {"function": "max", "field": "due_on", "alias": "last"},
        ]});
        assert_eq!(
            rows(&mesh, &agent, query).await,
            [json!({"n": 0, "total": 0, "mean": null, "last": null})]
        );
        // Buckets are in UTC; what has no date is a group of its own, last.
        for (field, granularity, expected) in [
            ("due_at", "year", json!(["2025", "2026", null])),
            ("due_at", "quarter", json!(["2025-Q4", "2026-Q1", null])),
            (
                "due_on",
                "month",
                json!(["2025-12", "2026-01", "2026-03", null]),
            ),
            ("due_at", "week", json!(["2026-W01", "2026-W10", null])),
            (
                "due_on",
                "day",
                json!(["2025-12-31", "2026-01-01", "2026-03-07", null]),
            ),
            (
                "due_at",
                "hour",
                json!(["2025-12-31T23", "2026-01-01T00", "2026-03-07T14", null]),
            ),
        ] {
            let group = json!({"field": field, "dateGranularity": granularity, "alias": "when"});
            let query = json!({"groupBy": [group]});
            let found = rows(&mesh, &agent, query).await;
            let found: Vec<&Value> = found.iter().map(|row| &row["when"]).collect();
            assert_eq!(json!(found), expected, "{field} by {granularity}");
        }
        // Having, pages and the number of groups.
        let query = json!({
            "groupBy": ["priority", "status"],
            "aggregations": [{"function": "count", "alias": "n"}],
            "having": {"priority": {"$gte": 2}, "n": {"$lt": 5}},
            "orderBy": "-status",
            "limit": 1,
            "offset": 1,
        });
        let answer = mesh.post(&agent, "/data/ticket/query", query).await.ok(200);
        assert_eq!(
            answer["items"],
            json!([{"priority": 2, "status": "closed", "n": 1}])
        );
        assert_eq!(answer["total"], 2);
    }
);

databases!(
    only_what_may_be_read_is_aggregated,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let (inspector_id, inspector) = mesh.user("ines", "inspector").await;
        let sum = |field: &str| json!({"aggregations": [{"function": "sum", "field": field, "alias": "total"}]});
        let path = "/data/ticket/query";
        mesh.post(&agent, path, sum("secret_cost"))
            .await
            .refused(403, "PERMISSION_DENIED");
        let query = json!({"groupBy": ["secret_cost"]});
        mesh.post(&agent, path, query)
            .await
            .refused(403, "PERMISSION_DENIED");
        let query = json!({"aggregations": [{"function": "count", "alias": "n",
        "filter": {"secret_cost": {"$gt": 1}}}]});
        mesh.post(&agent, path, query)
            .await
            .refused(403, "PERMISSION_DENIED");
        mesh.post(&agent, "/data/vault/query", json!({"groupBy": ["id"]}))
            .await
            .refused(403, "PERMISSION_DENIED");
        mesh.post(&mesh.admin, path, sum("secret_cost"))
            .await
            .ok(200);

        // Rows that a policy hides are in no figure.
        for (region, score, who) in [
            ("north", 9, Some(&inspector_id)),
            ("south", 2, None),
            ("south", 8, None),
        ] {
            let body = json!({"title": "t", "region": region, "score": score, "inspector": who});
            mesh.post(&mesh.admin, "/data/inspection", body)
                .await
                .ok(201);
        }
        let query = json!({"groupBy": ["region"],
        "aggregations": [{"function": "sum", "field": "score", "alias": "scores"}]});
        let path = "/data/inspection/query";
        let all = mesh.post(&mesh.admin, path, query.clone()).await.ok(200);
        assert_eq!(all["items"][1], json!({"region": "south", "scores": 10}));
        let own = mesh.post(&inspector, path, query).await.ok(200);
        let listed = mesh.get(&inspector, "/data/inspection").await.ok(200);
        let count = listed["items"].as_array().unwrap().len();
        let scores: i64 = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["score"].as_i64().unwrap())
            .sum();
        let summed: i64 = own["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["scores"].as_i64().unwrap())
            .sum();
        assert!(count < 3, "{listed:#}");
        assert_eq!(summed, scores);
    }
);

databases!(
    what_cannot_be_aggregated_says_why,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let count = json!([{"function": "count", "alias": "n"}]);
        for (query, reason) in [
            (json!({"groupBy": ["nothing"]}), "INVALID_FIELD"),
            (json!({"groupBy": ["tags"]}), "INVALID_QUERY"),
            (
                json!({"groupBy": ["status"], "fields": ["id"]}),
                "INVALID_QUERY",
            ),
            (json!({"groupBy": ["status", "status"]}), "INVALID_QUERY"),
            (
                json!({"groupBy": [{"field": "status", "dateGranularity": "month"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"groupBy": [{"field": "due_on", "dateGranularity": "decade"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"groupBy": [{"field": "due_on", "by": "month"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": [{"function": "sum", "field": "cost"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": [{"function": "sum", "alias": "x"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": [{"function": "sum", "field": "subject", "alias": "x"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": [{"function": "median", "field": "cost", "alias": "x"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": [{"function": "count", "alias": "a b"}]}),
                "INVALID_QUERY",
            ),
            (
                json!({"aggregations": count, "having": {"m": 1}}),
                "INVALID_FIELD",
            ),
            (
                json!({"aggregations": count, "orderBy": "m"}),
                "INVALID_SORT",
            ),
            (json!({"having": {"n": 1}}), "INVALID_QUERY"),
        ] {
            let answer = mesh.post(&agent, "/data/ticket/query", query.clone()).await;
            let details = answer.refused(400, "VALIDATION_ERROR");
            assert_eq!(details["reason"], reason, "{query}: {details}");
        }
    }
);
