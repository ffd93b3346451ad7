//! What is asked of both sides: five operations on the tickets of the demo data.

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use crate::{http_client::Connection, shape::Side};

/// Tickets that are read and changed.
const TICKETS: usize = 1000;
const PAGE: usize = 200;
const PRIORITIES: [&str; 4] = ["low", "medium", "high", "urgent"];

/// How a side names things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The mesh's REST API.
    Mesh,
    /// The bare program's.
    Bare,
}

/// An operation that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    List,
    Expand,
    Create,
    Patch,
}

impl Operation {
    /// All; those that change nothing first, so that each run measures them on the same data.
    pub(crate) const ALL: [Self; 5] = [
        Self::Read,
        Self::List,
        Self::Expand,
        Self::Create,
        Self::Patch,
    ];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "point read",
            Self::List => "list 20, filtered, ordered, total",
            Self::Expand => "list 20 + expand",
            Self::Create => "create",
            Self::Patch => "patch",
        }
    }

    /// Its request number `number`: method, target and body.
    pub(crate) fn request(
        self,
        dialect: Dialect,
        records: &Records,
        number: usize,
    ) -> (Method, String, Option<String>) {
        // A step that shares no factor with the count goes over all of them.
        let ticket = &records.tickets[(number * 7919) % records.tickets.len()];
        let base = match dialect {
            Dialect::Mesh => "/api/v1/data/support_ticket",
            Dialect::Bare => "/tickets",
        };
        let list = match dialect {
            Dialect::Mesh => "?status=open&orderBy=-created_at&limit=20",
            Dialect::Bare => "?status=open&limit=20",
        };
        match self {
            Self::Read => (Method::GET, format!("{base}/{ticket}"), None),
            Self::List => (Method::GET, format!("{base}{list}"), None),
            Self::Expand => {
                let target = format!("{base}{list}&expand=customer");
                (Method::GET, target, None)
            }
            Self::Create => {
                let record = json!({
                    "subject": "The till prints nothing",
                    "description": "Since this morning the till prints empty receipts.",
                    "priority": PRIORITIES[number % PRIORITIES.len()],
                    "customer": records.customers[number % records.customers.len()],
                    "tags": ["till", "printer"],
                });
                (Method::POST, base.to_owned(), Some(record.to_string()))
            }
            Self::Patch => {
                // Each time around the tickets, another one.
                let priority = (number + number / records.tickets.len()) % PRIORITIES.len();
                let change = json!({"priority": PRIORITIES[priority]});
                let target = format!("{base}/{ticket}");
                (Method::PATCH, target, Some(change.to_string()))
            }
        }
    }
}

/// Ids that both sides know.
pub(crate) struct Records {
    tickets: Vec<String>,
    customers: Vec<String>,
}

impl Records {
    /// Asks the mesh for them.
    pub(crate) async fn of(mesh: &Side) -> anyhow::Result<Self> {
        let mut connection = Connection::open(&mesh.address, &mesh.token).await?;
        let mut tickets = Vec::new();
        while tickets.len() < TICKETS {
            let target = format!(
                "/api/v1/data/support_ticket?select=id&orderBy=id&limit={PAGE}&offset={}",
                tickets.len()
            );
            let page = connection.json(Method::GET, &target, None).await?;
            let found = ids(&page);
            anyhow::ensure!(!found.is_empty(), "only {} tickets", tickets.len());
            tickets.extend(found);
        }
        let target = format!("/api/v1/data/customer?select=id&limit={PAGE}");
        let customers = ids(&connection.json(Method::GET, &target, None).await?);
        anyhow::ensure!(!customers.is_empty(), "no customers");
        Ok(Self { tickets, customers })
    }
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().into_iter().flatten();
    items
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect()
}

/// Fails unless both sides answer reads alike.
pub(crate) async fn compare(mesh: &Side, bare: &Side, records: &Records) -> anyhow::Result<()> {
    let mut ours = Connection::open(&mesh.address, &mesh.token).await?;
    let mut theirs = Connection::open(&bare.address, &bare.token).await?;
    for operation in [Operation::Read, Operation::List, Operation::Expand] {
        for number in 0..20 {
            let (method, target, body) = operation.request(Dialect::Mesh, records, number);
            let mut ours = ours.json(method, &target, body).await?;
            let (method, target, body) = operation.request(bare.dialect, records, number);
            let mut theirs = theirs.json(method, &target, body).await?;
            // The bare program has no pages after the first.
            for page in [&mut ours, &mut theirs] {
                if let Some(page) = page.as_object_mut() {
                    page.remove("nextCursor");
                }
            }
            if let Some(difference) = difference("", &ours, &theirs) {
                anyhow::bail!("{}: the two sides differ: {difference}", operation.name());
            }
        }
    }
    Ok(())
}

/// The first difference; 4 and 4.0 are the same number.
fn difference(at: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys());
            names
                .filter_map(|name| {
                    let at = format!("{at}/{name}");
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => difference(&at, a, b),
                        (a, _) => Some(format!("{at} is only in {}", side(a.is_some()))),
                    }
                })
                .next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(&format!("{at}/{index}"), a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (a, b) if a == b => None,
        (a, b) => Some(format!("{at}: {a} and {b}")),
    }
}

fn side(is_ours: bool) -> &'static str {
    if is_ours {
        "the mesh"
    } else {
        "the bare program"
    }
}

/// Signs in at the mesh; answers the session's token.
pub(crate) async fn sign_in(address: &str) -> anyhow::Result<String> {
    // The user of the demo data whose fields and rows are checked most.
    let body = json!({"email": "agent@example.com", "password": "objectmesh-demo"});
    let mut connection = Connection::open(address, "").await?;
    let answer = connection
        .json(Method::POST, "/api/v1/auth/sign-in", Some(body.to_string()))
        .await?;
    let token = answer["token"].as_str().context("sign-in gave no token")?;
    Ok(token.to_owned())
}
