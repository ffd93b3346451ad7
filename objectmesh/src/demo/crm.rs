//! Owns the sales pipeline: accounts, their contacts, leads and opportunities.

use serde_json::{Map, json};

use super::{
    DemoRecord, World,
    calendar::{DAY, after_working, date},
    names::JOB_TITLES,
    options,
    people::{CUSTOMER_COMPANIES, Company},
    random::{Random, Stream, id},
};

pub(super) const ACCOUNTS: usize = 40;
pub(super) const CONTACTS: usize = 80;
pub(super) const LEADS: usize = 60;
pub(super) const OPPORTUNITIES: usize = 50;

/// The moment within the last `days` at which the record was made; the same for equal numbers.
fn made(world: &World, random: &mut Random, days: i64) -> i64 {
    let back = random.between(2, days);
    after_working(world.base - back * DAY, random.between(0, 500)).min(world.base - 1)
}

fn person(company: &Company, random: &mut Random) -> (&'static str, &'static str) {
    (
        random.pick(company.country.given),
        random.pick(company.country.family),
    )
}

pub(super) fn account(world: &World, index: usize) -> DemoRecord {
    let company = &world.companies[index];
    let mut random = Random::new(Stream::Account, index);
    let employees = random.between(4, 900);
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Account, index)));
    fields.insert("name".into(), json!(company.name));
    fields.insert("industry".into(), json!(company.industry));
    fields.insert(
        "annual_revenue".into(),
        json!(employees * random.between(70, 180) * 1000),
    );
    fields.insert("employees".into(), json!(employees));
    fields.insert("website".into(), json!(company.website()));
    fields.insert("phone".into(), json!(company.phone(&mut random)));
    fields.insert("billing_address".into(), company.address(&mut random));
    let created = made(world, &mut random, 540);
    DemoRecord::new("account", fields, created, created, world.user(2))
}

pub(super) fn contact(world: &World, index: usize) -> DemoRecord {
    let company = &world.companies[index % ACCOUNTS];
    let mut random = Random::new(Stream::Contact, index);
    let (given, family) = person(company, &mut random);
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Contact, index)));
    if random.chance(9) {
        fields.insert("salutation".into(), json!("dr"));
    }
    fields.insert("first_name".into(), json!(given));
    fields.insert("last_name".into(), json!(family));
    fields.insert("title".into(), json!(random.pick(JOB_TITLES)));
    fields.insert("email".into(), json!(company.email(given, family)));
    fields.insert("phone".into(), json!(company.phone(&mut random)));
    if random.chance(60) {
        fields.insert("mobile".into(), json!(company.phone(&mut random)));
    }
    fields.insert("mailing_address".into(), company.address(&mut random));
    fields.insert(
        "account".into(),
        json!(id(Stream::Account, index % ACCOUNTS)),
    );
    let created = made(world, &mut random, 500);
    DemoRecord::new(
        "contact",
        fields,
        created,
        created,
        world.user(1 + index % 2),
    )
}

pub(super) fn lead(world: &World, index: usize) -> DemoRecord {
    let company = &world.companies[CUSTOMER_COMPANIES + index];
    let mut random = Random::new(Stream::Lead, index);
    let (given, family) = person(company, &mut random);
    let employees = random.between(2, 400);
    let owner = if random.chance(75) { 1 } else { 2 };
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Lead, index)));
    fields.insert("company".into(), json!(company.name));
    fields.insert("first_name".into(), json!(given));
    fields.insert("last_name".into(), json!(family));
    fields.insert("title".into(), json!(random.pick(JOB_TITLES)));
    fields.insert("email".into(), json!(company.email(given, family)));
    fields.insert("phone".into(), json!(company.phone(&mut random)));
    fields.insert("website".into(), json!(company.website()));
    fields.insert("industry".into(), json!(company.industry));
    fields.insert(
        "annual_revenue".into(),
        json!(employees * random.between(60, 160) * 1000),
    );
    fields.insert("number_of_employees".into(), json!(employees));
    fields.insert("address".into(), company.address(&mut random));
    fields.insert(
        "lead_source".into(),
        json!(random.pick(options::LEAD_SOURCES)),
    );
    // None is converted: the conversion is what the reader is going to try.
    let status = random.pick_weighted(&[
        ("new", 45),
        ("contacted", 30),
        ("qualified", 17),
        ("unqualified", 8),
    ]);
    fields.insert("status".into(), json!(status));
    fields.insert("is_converted".into(), json!(false));
    if let Some(owner) = world.user(owner) {
        fields.insert("owner_id".into(), json!(owner));
    }
    let created = made(world, &mut random, 120);
    DemoRecord::new("lead", fields, created, created, world.user(owner))
}

pub(super) fn opportunity(world: &World, index: usize) -> DemoRecord {
    const DEALS: &[&str] = &[
        "Till renewal",
        "New store",
        "Stock Plus plan",
        "Card terminals",
        "Label printers",
        "Web shop connection",
        "Yearly contract",
    ];
    let account = index % ACCOUNTS;
    let mut random = Random::new(Stream::Opportunity, index);
    let stage = random.pick_weighted(&[
        ("qualification", 14),
        ("needs_analysis", 12),
        ("proposal", 10),
        ("negotiation", 6),
        ("closed_won", 9),
        ("closed_lost", 5),
    ]);
    let owner = if random.chance(65) { 1 } else { 2 };
    let created = made(world, &mut random, 200);
    let closes = match stage {
        "closed_won" | "closed_lost" => {
            (created + random.between(10, 60) * DAY).min(world.base - DAY)
        }
        _ => world.base + random.between(7, 120) * DAY,
    };
    let discount = random.pick_weighted(&[(0, 55), (5, 20), (10, 15), (15, 7), (20, 3)]);
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Opportunity, index)));
    fields.insert(
        "name".into(),
        json!(format!(
            "{} – {}",
            world.companies[account].name,
            random.pick(DEALS)
        )),
    );
    fields.insert("account".into(), json!(id(Stream::Account, account)));
    let colleague = if random.chance(50) {
        account
    } else {
        account + ACCOUNTS
    };
    fields.insert(
        "primary_contact".into(),
        json!(id(Stream::Contact, colleague)),
    );
    fields.insert("stage".into(), json!(stage));
    fields.insert("amount".into(), json!(random.between(8, 640) * 250));
    fields.insert("discount_percent".into(), json!(discount));
    fields.insert("close_date".into(), json!(date(closes)));
    fields.insert(
        "lead_source".into(),
        json!(random.pick(options::LEAD_SOURCES)),
    );
    if let Some(owner) = world.user(owner) {
        fields.insert("owner_id".into(), json!(owner));
    }
    DemoRecord::new("opportunity", fields, created, created, world.user(owner))
}
