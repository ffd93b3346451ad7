//! Owns the words that a topic's sentences leave open, and how they are put in.

use super::{
    TICKETS, USERS, World,
    random::{Random, Stream},
    topics::Topic,
};

/// `text` with a capital first letter.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The words that the topics' sentences leave open, the same throughout a ticket.
pub(super) struct Words {
    pub(super) name: String,
    pub(super) company: String,
    pub(super) agent: &'static str,
    first: &'static str,
    city: &'static str,
    product: &'static str,
    error: &'static str,
    site: String,
    since: &'static str,
    time: &'static str,
    version: String,
    number: String,
    order: String,
    invoice: String,
    serial: String,
    sku: String,
}

impl Words {
    pub(super) fn new(world: &World, index: usize, customer: usize, topic: &Topic) -> Self {
        const SITES: &[&str] = &[
            "our shop in {}",
            "the {} branch",
            "our warehouse",
            "checkout 3",
            "the back office",
            "our store near the station",
            "the pop-up store",
            "our main store",
        ];
        const SINCE: &[&str] = &[
            "yesterday",
            "this morning",
            "last Monday",
            "last Tuesday",
            "last Friday",
            "last week",
            "last night",
        ];
        const TIMES: &[&str] = &[
            "08:15", "09:40", "10:30", "11:05", "13:20", "14:45", "16:10", "17:30",
        ];
        let mut random = Random::new(Stream::Words, TICKETS + index);
        let customer = &world.customers[customer];
        let company = &world.companies[customer.company];
        let serial = random.between(100_000, 999_999);
        Self {
            name: format!("{} {}", customer.given, customer.family),
            company: company.name.clone(),
            agent: USERS[1].name,
            first: customer.given,
            city: company.city,
            product: random.pick(topic.products),
            error: if topic.errors.is_empty() {
                ""
            } else {
                random.pick(topic.errors)
            },
            site: random.pick(SITES).replace("{}", company.city),
            since: random.pick(SINCE),
            time: random.pick(TIMES),
            version: format!(
                "{}.{}.{}",
                random.between(3, 6),
                random.between(0, 9),
                random.between(0, 14)
            ),
            number: random.between(3, 48).to_string(),
            order: format!("HS-{}", random.between(20_000, 89_999)),
            invoice: format!("RE-{}", random.between(104_000, 168_999)),
            serial: format!("{}{serial}", random.pick(&["KX", "LM", "QT", "ZB"])),
            sku: format!(
                "{}-{}",
                random.between(1000, 9899),
                random.pick(&["A", "BLK", "M", "XL", "500G", "12"])
            ),
        }
    }

    /// `text` with each word in braces replaced; an unknown one stays.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len() + 40);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((key, after)) = after.split_once('}') else {
                filled.push('{');
                rest = after;
                continue;
            };
            rest = after;
            match key {
                "product" => filled.push_str(self.product),
                // An error message may hold words in braces itself.
                "error" => filled.push_str(&self.fill(self.error)),
                "site" => filled.push_str(&self.site),
                "since" => filled.push_str(self.since),
                "time" => filled.push_str(self.time),
                "version" => filled.push_str(&self.version),
                "n" => filled.push_str(&self.number),
                "order" => filled.push_str(&self.order),
                "invoice" => filled.push_str(&self.invoice),
                "serial" => filled.push_str(&self.serial),
                "sku" => filled.push_str(&self.sku),
                "first" => filled.push_str(self.first),
                "name" => filled.push_str(&self.name),
                "company" => filled.push_str(&self.company),
                "city" => filled.push_str(self.city),
                "agent" => filled.push_str(self.agent.split(' ').next().unwrap_or(self.agent)),
                _ => {
                    filled.push('{');
                    filled.push_str(key);
                    filled.push('}');
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}
