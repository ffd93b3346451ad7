//! Summaries that come to tables which have records already.

use data_svc::Rooms;
use mesh::db::Statement;
use serde_json::{Value, json};

use crate::{
    bed::{Bed, package},
    both,
};

/// Baskets and what is in them; the basket's summary of them, if any.
fn shop(version: &str, summary: Option<Value>) -> Value {
    let mut basket = json!({"name": {"type": "text"}});
    if let Some(summary) = summary {
        basket["total"] = json!({"type": "summary", "summaryOperations": summary});
    }
    json!({
        "manifest": {"id": "com.example.shop", "version": version, "name": "Shop"},
        "objects": [
            {"name": "basket", "sharingModel": "public_read_write", "fields": basket},
            {"name": "ware", "sharingModel": "public_read_write", "fields": {
                "price": {"type": "currency"},
                "basket": {"type": "lookup", "reference": "basket"},
            }},
        ],
        "data": [
            {"object": "basket", "externalId": "name", "mode": "ignore",
             "records": [{"name": "full"}, {"name": "none"}]},
            {"object": "ware", "externalId": "price", "mode": "ignore", "records": [
                {"price": 1.1, "basket": "full"}, {"price": 2.2, "basket": "full"}]},
        ],
    })
}

async fn totals(rooms: &Rooms) -> Vec<Option<f64>> {
    let sql = Statement::new("SELECT total FROM basket ORDER BY name");
    let totals = rooms.db.query(sql, |row| row.double(0)).await;
    totals.expect("the totals")
}

async fn install(rooms: &Rooms, version: &str, summary: Option<Value>) {
    let package = package(&shop(version, summary));
    let installed = rooms.catalog.install(&[package]).await.expect("installs");
    let loaded = data_svc::seeds::load(rooms, &installed.seeds).await;
    let loaded = loaded.expect("loads");
    assert!(loaded.warnings.is_empty(), "{loaded:?}");
}

both!(a_new_summary_is_filled, async |bed: &Bed| {
    let rooms = bed.rooms().await;
    install(&rooms, "1.0.0", None).await;
    let sum = json!({"object": "ware", "field": "price", "function": "sum"});
    install(&rooms, "1.1.0", Some(sum.clone())).await;
    assert_eq!(totals(&rooms).await, [Some(3.3), Some(0.0)]);
    // So is one that changes what it sums up, and one that comes back.
    let most = json!({"object": "ware", "field": "price", "function": "max",
        "filter": {"price": {"$lt": 2}}});
    install(&rooms, "1.2.0", Some(most)).await;
    assert_eq!(totals(&rooms).await, [Some(1.1), None]);
    install(&rooms, "1.3.0", None).await;
    let outdate = Statement::new("UPDATE basket SET total = 9");
    rooms.db.execute(outdate).await.expect("updated");
    install(&rooms, "1.4.0", Some(sum)).await;
    assert_eq!(totals(&rooms).await, [Some(3.3), Some(0.0)]);
});

both!(seeds_are_summed_up, async |bed: &Bed| {
    let rooms = bed.rooms().await;
    let count = json!({"object": "ware", "function": "count"});
    install(&rooms, "1.0.0", Some(count)).await;
    assert_eq!(totals(&rooms).await, [Some(2.0), Some(0.0)]);
});
