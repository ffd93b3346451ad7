//! Owns companies and customers: who writes to the support desk.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    DemoRecord, calendar,
    names::{Country, address_part, country},
    options,
    random::{Random, Stream, id},
};

/// Companies that customers work for; the leads' companies follow them.
pub(super) const CUSTOMER_COMPANIES: usize = 460;

pub(super) struct Company {
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) country: &'static Country,
    pub(super) city: &'static str,
    pub(super) industry: &'static str,
}

pub(super) struct Customer {
    pub(super) company: usize,
    pub(super) given: &'static str,
    pub(super) family: &'static str,
    pub(super) email: String,
    pub(super) tier: &'static str,
}

impl Company {
    pub(super) fn website(&self) -> String {
        format!("https://www.{}", self.domain)
    }

    pub(super) fn phone(&self, random: &mut Random) -> String {
        let (area, number) = (random.between(21, 98), random.between(100_000, 999_999));
        format!("{} {area} 55{number}", self.country.dial)
    }

    /// An address in the company's city, each `#` of the patterns replaced.
    pub(super) fn address(&self, random: &mut Random) -> Value {
        let house = random.between(1, 140).to_string();
        let street = random.pick(self.country.streets).replacen('#', &house, 1);
        let postcode: String = self
            .country
            .postcode
            .chars()
            .map(|letter| match letter {
                '#' => char::from(b'0' + random.below(10) as u8),
                other => other,
            })
            .collect();
        json!({
            "street": street,
            "city": self.city,
            "postalCode": postcode,
            "country": self.country.name,
            "countryCode": self.country.code,
        })
    }

    /// An address for mail to a person at the company; `.example` reaches nobody.
    pub(super) fn email(&self, given: &str, family: &str) -> String {
        format!(
            "{}.{}@{}",
            address_part(given, '-'),
            address_part(family, '-'),
            self.domain
        )
    }
}

/// `count` companies, no two with the same domain.
pub(super) fn companies(count: usize) -> Vec<Company> {
    let mut random = Random::new(Stream::Company, 0);
    let mut taken = HashSet::new();
    let mut companies = Vec::with_capacity(count);
    while companies.len() < count {
        let country = country(&mut random);
        let (stem, trade) = (random.pick(country.stems), random.pick(country.trades));
        let company = Company {
            name: format!("{stem} {trade} {}", random.pick(country.forms)),
            domain: format!("{}.example", address_part(&format!("{stem} {trade}"), '-')),
            country,
            city: random.pick(country.cities),
            industry: random.pick_weighted(&[
                ("retail", 34),
                ("hospitality", 20),
                ("logistics", 14),
                ("manufacturing", 12),
                ("technology", 8),
                ("healthcare", 6),
                ("other", 6),
            ]),
        };
        if taken.insert(company.domain.clone()) {
            companies.push(company);
        }
    }
    companies
}

/// `count` customers, no two with the same email.
pub(super) fn customers(companies: &[Company], count: usize) -> Vec<Customer> {
    let mut taken = HashSet::new();
    let mut customers = Vec::with_capacity(count);
    for index in 0..count {
        let mut random = Random::new(Stream::Customer, index);
        let company = index % CUSTOMER_COMPANIES;
        let country = companies[company].country;
        let tier = random.pick_weighted(&[
            (options::TIERS[0], 48),
            (options::TIERS[1], 28),
            (options::TIERS[2], 17),
            (options::TIERS[3], 7),
        ]);
        loop {
            let (given, family) = (random.pick(country.given), random.pick(country.family));
            let email = companies[company].email(given, family);
            if taken.insert(email.clone()) {
                customers.push(Customer {
                    company,
                    given,
                    family,
                    email,
                    tier,
                });
                break;
            }
        }
    }
    customers
}

pub(super) fn record(
    index: usize,
    customer: &Customer,
    company: &Company,
    base: i64,
    creator: Option<&str>,
) -> DemoRecord {
    const NOTES: &[&str] = &[
        "Prefers a call to an email.",
        "Opens at noon; do not ring before.",
        "Pilot customer for new label templates.",
        "Contract is renewed each spring.",
        "Writes in English, speaks the local language on the phone.",
        "Asks for the purchase order number on every invoice.",
    ];
    let mut random = Random::new(Stream::Customer, 10_000 + index);
    let value = match customer.tier {
        "platinum" => random.between(48_000, 190_000),
        "gold" => random.between(14_000, 52_000),
        "silver" => random.between(4_200, 15_000),
        _ => random.between(480, 4_800),
    };
    // Before the first ticket: customers came over the two years that precede the history.
    let days = calendar::HISTORY_DAYS + 2 + random.between(0, 730);
    let created = calendar::after_working(base - days * calendar::DAY, random.between(0, 600));

    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Customer, index)));
    fields.insert(
        "name".into(),
        json!(format!("{} {}", customer.given, customer.family)),
    );
    fields.insert("email".into(), json!(customer.email));
    fields.insert("phone".into(), json!(company.phone(&mut random)));
    fields.insert("company".into(), json!(company.name));
    fields.insert("tier".into(), json!(customer.tier));
    fields.insert("city".into(), json!(company.city));
    fields.insert("country".into(), json!(company.country.name));
    fields.insert("website".into(), json!(company.website()));
    fields.insert("annual_value".into(), json!(value));
    fields.insert("active".into(), json!(random.chance(94)));
    if random.chance(25) {
        fields.insert("notes".into(), json!(random.pick(NOTES)));
    }
    DemoRecord::new("customer", fields, created, created, creator)
}
