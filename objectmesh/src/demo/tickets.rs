//! Owns the tickets: when they came, what became of them, and what they say.

use serde_json::{Map, json};

use super::{
    COMMENTS, CUSTOMERS, DemoRecord, OPEN_TICKETS, TICKETS, USERS, World,
    calendar::{DAY, MINUTE, after_working, arrivals, datetime},
    conversations::{Turn, turns},
    random::{Random, Stream, id},
    topics::{self, Case, Topic},
    words::{Words, sentence},
};

/// What is settled of all tickets before any is written out.
pub(super) struct Outline {
    pub(super) created: i64,
    pub(super) status: &'static str,
    pub(super) comments: u8,
}

/// Everything that a ticket and its comments have to agree on.
pub(super) struct Plan {
    pub(super) customer: usize,
    pub(super) assignee: Option<usize>,
    pub(super) priority: &'static str,
    pub(super) channel: &'static str,
    pub(super) due: i64,
    pub(super) first_response: Option<i64>,
    pub(super) resolved: Option<i64>,
    pub(super) turns: Vec<(Turn, i64)>,
    pub(super) topic: &'static Topic,
    pub(super) case: &'static Case,
    pub(super) words: Words,
}

/// All outlines, oldest first: exactly as many open tickets and comments as promised.
pub(super) fn outlines(base: i64) -> Vec<Outline> {
    let mut random = Random::new(Stream::Status, 0);
    let mut outlines: Vec<Outline> = arrivals(base, TICKETS)
        .into_iter()
        .enumerate()
        .map(|(index, created)| {
            let status = status(TICKETS - 1 - index, &mut random);
            Outline {
                created,
                status,
                comments: comments(status, &mut random),
            }
        })
        .collect();

    let mut open = outlines
        .iter()
        .filter(|ticket| ticket.status == "open")
        .count();
    for ticket in outlines.iter_mut() {
        if open > OPEN_TICKETS && ticket.status == "open" {
            (ticket.status, ticket.comments) = ("closed", 1);
            open -= 1;
        }
    }
    for ticket in outlines.iter_mut().rev() {
        if open < OPEN_TICKETS && ticket.status == "in_progress" {
            (ticket.status, ticket.comments) = ("open", 0);
            open += 1;
        }
    }
    let mut written: usize = outlines
        .iter()
        .map(|ticket| usize::from(ticket.comments))
        .sum();
    // A stride that shares no factor with the count visits every ticket, spread over the years.
    for step in (0..TICKETS).map(|step| step * 7919 % TICKETS) {
        let ticket = &mut outlines[step];
        if ticket.status != "closed" {
            continue;
        }
        if written > COMMENTS && ticket.comments > 1 {
            ticket.comments -= 1;
            written -= 1;
        } else if written < COMMENTS && ticket.comments < 5 {
            ticket.comments += 1;
            written += 1;
        }
    }
    outlines
}

/// A status by how many tickets came later: new tickets tend to be open, old ones closed.
fn status(later: usize, random: &mut Random) -> &'static str {
    let weights: [usize; 5] = match later {
        0..150 => [400, 220, 140, 200, 40],
        150..500 => [100, 150, 180, 400, 170],
        500..1500 => [25, 50, 80, 350, 495],
        1500..4000 => [5, 8, 12, 20, 955],
        _ => [0, 0, 1, 4, 995],
    };
    let [open, in_progress, waiting, resolved, closed] = weights;
    random.pick_weighted(&[
        ("open", open),
        ("in_progress", in_progress),
        ("waiting", waiting),
        ("resolved", resolved),
        ("closed", closed),
    ])
}

fn comments(status: &str, random: &mut Random) -> u8 {
    match status {
        "open" => random.pick_weighted(&[(0, 65), (1, 28), (2, 7)]),
        "in_progress" => random.pick_weighted(&[(1, 35), (2, 30), (3, 22), (4, 13)]),
        "waiting" => random.pick_weighted(&[(1, 55), (2, 30), (3, 15)]),
        _ => random.pick_weighted(&[(1, 38), (2, 32), (3, 16), (4, 8), (5, 4), (6, 2)]),
    }
}

pub(super) fn plan(world: &World, index: usize) -> Plan {
    let Outline {
        created,
        status,
        comments,
    } = world.tickets[index];
    let mut random = Random::new(Stream::Ticket, index);
    // The smaller of two draws: some customers write far more often than others.
    let customer = random.below(CUSTOMERS).min(random.below(CUSTOMERS));
    let topic = topics::topic(random.below(topics::count()));
    let case = &topic.cases[random.below(topic.cases.len())];
    let question = matches!(topic.tags[0], "feature-request" | "training" | "contract");
    let priority = if question {
        random.pick_weighted(&[("low", 70), ("medium", 30)])
    } else {
        random.pick_weighted(&[("low", 12), ("medium", 50), ("high", 28), ("urgent", 10)])
    };
    let channel = random.pick_weighted(&[("email", 40), ("web", 25), ("phone", 20), ("chat", 15)]);
    let (due_in, answered_in, solved_in) = match priority {
        "urgent" => (240, (3, 55), (30, 600)),
        "high" => (660, (8, 200), (60, 1500)),
        "medium" => (1980, (15, 500), (120, 3600)),
        _ => (3960, (30, 1100), (200, 5600)),
    };
    let assigned = status != "open" || random.chance(40);
    let assignee = random.pick_weighted(&[(1, 68), (2, 24), (0, 8)]);

    let first = after_working(created, random.between(answered_in.0, answered_in.1));
    // A conversation of one or two sentences ends with the first answer.
    let effort = if comments <= 2 { (0, 25) } else { solved_in };
    let solved = after_working(first, random.between(effort.0, effort.1));
    let last_word = after_working(first, random.between(60, 2400));
    // Squeezes what would lie in the future into the time that has passed.
    let passed = world.base - created;
    let (first, solved, last_word) = if solved < world.base {
        (first, solved, last_word.min(world.base - 1))
    } else {
        let first = created + passed / 100 * random.between(10, 50);
        (
            first,
            created + passed / 100 * random.between(60, 95),
            first + passed / 4,
        )
    };
    let resolved = matches!(status, "resolved" | "closed").then_some(solved);
    let end = resolved.unwrap_or(last_word);
    let turns = turns(
        status,
        comments,
        created,
        first,
        end,
        world.base,
        &mut random,
    );
    let first_response = turns
        .iter()
        .find(|(turn, _)| turn.answers_customer())
        .map(|(_, at)| *at);

    let mut words = Words::new(world, index, customer, topic);
    words.agent = USERS[assignee].name;
    Plan {
        customer,
        assignee: assigned.then_some(assignee),
        priority,
        channel,
        due: after_working(created, due_in),
        first_response,
        resolved,
        turns,
        topic,
        case,
        words,
    }
}

pub(super) fn record(world: &World, index: usize) -> DemoRecord {
    let Outline {
        created, status, ..
    } = world.tickets[index];
    let plan = plan(world, index);
    let mut random = Random::new(Stream::Words, index);
    let tier = world.customers[plan.customer].tier;
    let late = plan.resolved.unwrap_or(world.base) > plan.due;
    let mut tags: Vec<&str> = plan.topic.tags.to_vec();
    if tier == "platinum" {
        tags.push("vip");
    }

    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Ticket, index)));
    fields.insert(
        "subject".into(),
        json!(sentence(&plan.words.fill(plan.case.subject))),
    );
    fields.insert("description".into(), json!(description(&plan, &mut random)));
    fields.insert("status".into(), json!(status));
    fields.insert("priority".into(), json!(plan.priority));
    fields.insert("channel".into(), json!(plan.channel));
    fields.insert(
        "customer".into(),
        json!(id(Stream::Customer, plan.customer)),
    );
    if let Some(assignee) = plan.assignee.and_then(|number| world.user(number)) {
        fields.insert("assignee".into(), json!(assignee));
    }
    fields.insert("due_at".into(), json!(datetime(plan.due)));
    fields.insert("tags".into(), json!(tags));
    let hot = matches!(plan.priority, "high" | "urgent");
    fields.insert("escalated".into(), json!(late && hot && random.chance(30)));
    if let Some(at) = plan.first_response {
        fields.insert(
            "first_response_minutes".into(),
            json!((at - created) / MINUTE),
        );
    }
    if let Some(at) = plan.resolved {
        fields.insert("resolved_at".into(), json!(datetime(at)));
        let cents = 450 + plan.turns.len() as i64 * random.between(380, 1900);
        fields.insert("internal_cost".into(), json!(cents as f64 / 100.0));
        let content = if late {
            [14, 20, 28, 26, 12]
        } else {
            [2, 3, 11, 36, 48]
        };
        if status == "closed" && random.chance(62) {
            let stars = [
                (1, content[0]),
                (2, content[1]),
                (3, content[2]),
                (4, content[3]),
                (5, content[4]),
            ];
            fields.insert("satisfaction".into(), json!(random.pick_weighted(&stars)));
        }
    }

    let last = plan
        .turns
        .last()
        .map_or(created, |(_, at)| *at)
        .max(plan.resolved.unwrap_or(created));
    let updated = if status == "closed" {
        (last + 3 * DAY).min(world.base)
    } else {
        last
    };
    // What comes through the site or the inbox was typed in by no user.
    let creator = match plan.channel {
        "phone" | "chat" => world.user(plan.assignee.unwrap_or(1)),
        _ => None,
    };
    DemoRecord::new("support_ticket", fields, created, updated, creator)
}

fn description(plan: &Plan, random: &mut Random) -> String {
    let words = &plan.words;
    let detail = sentence(&words.fill(plan.case.detail));
    let impact = if plan.topic.errors.is_empty() || random.chance(35) {
        String::new()
    } else {
        format!(" {}", words.fill(random.pick(topics::IMPACTS)))
    };
    match plan.channel {
        "phone" => format!(
            "Call from {} ({}), noted down:\n\n\"{detail}{impact}\"",
            words.name, words.company
        ),
        "chat" => format!("{detail}{impact}"),
        _ => format!(
            "{}\n\n{detail}{impact}\n\n{}",
            random.pick(topics::GREETINGS),
            words.fill(random.pick(topics::CLOSINGS))
        ),
    }
}
