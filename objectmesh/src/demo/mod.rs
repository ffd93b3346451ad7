//! Owns the demo data of the example app `support-desk`: users and some thirty thousand records.
//!
//! Invariant: a pure function of the base time and the user ids. The same arguments give the same
//! records, byte for byte, on every machine; the ids do not even depend on the arguments.
//!
//! Invariant: records come in an order in which every reference points backwards, tickets by
//! their time of creation, so that numbers given out on insert follow it.

use std::sync::Arc;

use serde_json::{Map, Value};

mod articles;
mod calendar;
mod conversations;
mod crm;
mod names;
mod options;
mod people;
mod random;
mod tickets;
mod topics;
mod words;

#[cfg(test)]
mod tests;

/// How many customers are generated.
pub const CUSTOMERS: usize = 500;
/// How many tickets are generated.
pub const TICKETS: usize = 10_000;
/// How many of the tickets are open.
pub const OPEN_TICKETS: usize = 137;
/// How many comments are generated.
pub const COMMENTS: usize = 20_000;

/// One generated record: its object and its fields, among them `id`, `created_at` and
/// `updated_at`, and `created_by` where a user made it. Autonumbers are left to the server.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoRecord {
    /// The object's name.
    pub object: &'static str,
    /// Field names and values.
    pub fields: Map<String, Value>,
}

/// Somebody who can sign in to the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoUser {
    /// The full name.
    pub name: &'static str,
    /// The address to sign in with.
    pub email: &'static str,
    /// The permission set to assign; the administrator needs none.
    pub permission_set: Option<&'static str>,
    /// The position to assign, for the hierarchy and for sharing rules.
    pub position: Option<&'static str>,
}

const USERS: [DemoUser; 4] = [
    DemoUser {
        name: "Ada Admin",
        email: "admin@example.com",
        permission_set: None,
        position: None,
    },
    DemoUser {
        name: "Grace Agent",
        email: "agent@example.com",
        permission_set: Some("support_agent"),
        position: Some("support_agent"),
    },
    DemoUser {
        name: "Max Manager",
        email: "manager@example.com",
        permission_set: Some("support_manager"),
        position: Some("support_manager"),
    },
    DemoUser {
        name: "Vera Viewer",
        email: "viewer@example.com",
        permission_set: Some("support_viewer"),
        position: None,
    },
];

/// The demo users; the first becomes the platform's administrator.
pub fn users() -> [DemoUser; 4] {
    USERS
}

/// All records, references before what refers to them. `base` is the time to which the history
/// reaches, in milliseconds since 1970; `user_ids` are the ids of [`users`], in that order. A
/// missing id leaves the fields out that would hold it.
pub fn records(base: i64, user_ids: &[String]) -> impl Iterator<Item = DemoRecord> + Send + use<> {
    let world = Arc::new(World::new(base, user_ids));
    let counts: [(usize, Maker); 8] = [
        (CUSTOMERS, customer),
        (articles::COUNT, articles::record),
        (crm::ACCOUNTS, crm::account),
        (crm::CONTACTS, crm::contact),
        (crm::LEADS, crm::lead),
        (crm::OPPORTUNITIES, crm::opportunity),
        (TICKETS, tickets::record),
        (COMMENTS, conversations::record),
    ];
    counts.into_iter().flat_map(move |(count, make)| {
        let world = Arc::clone(&world);
        (0..count).map(move |index| make(&world, index))
    })
}

type Maker = fn(&World, usize) -> DemoRecord;

fn customer(world: &World, index: usize) -> DemoRecord {
    let customer = &world.customers[index];
    let company = &world.companies[customer.company];
    people::record(index, customer, company, world.base, world.user(2))
}

impl DemoRecord {
    fn new(
        object: &'static str,
        mut fields: Map<String, Value>,
        created: i64,
        updated: i64,
        creator: Option<&str>,
    ) -> Self {
        fields.insert("created_at".into(), calendar::datetime(created).into());
        fields.insert("updated_at".into(), calendar::datetime(updated).into());
        if let Some(creator) = creator {
            fields.insert("created_by".into(), creator.into());
        }
        Self { object, fields }
    }
}

/// What several kinds of records need to know of each other.
struct World {
    base: i64,
    users: Vec<String>,
    companies: Vec<people::Company>,
    customers: Vec<people::Customer>,
    tickets: Vec<tickets::Outline>,
    /// For each comment, its ticket and its place in the conversation.
    comments: Vec<(u16, u8)>,
}

impl World {
    fn new(base: i64, user_ids: &[String]) -> Self {
        let companies = people::companies(people::CUSTOMER_COMPANIES + crm::LEADS);
        let customers = people::customers(&companies, CUSTOMERS);
        let tickets = tickets::outlines(base);
        let comments = tickets
            .iter()
            .enumerate()
            .flat_map(|(ticket, outline)| {
                (0..outline.comments).map(move |place| (ticket as u16, place))
            })
            .collect();
        Self {
            base,
            users: user_ids.to_vec(),
            companies,
            customers,
            tickets,
            comments,
        }
    }

    fn user(&self, number: usize) -> Option<&str> {
        self.users.get(number).map(String::as_str)
    }
}
