//! Owns the comments: who says what, and when, until a ticket is where it is.

use serde_json::{Map, json};

use super::{
    DemoRecord, World,
    calendar::{DAY, MINUTE, after_working},
    random::{Random, Stream, id},
    tickets::plan,
    topics,
    words::sentence,
};

/// One step of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// An agent asks for details.
    Ask,
    /// The customer gives them.
    Answer,
    /// An agent writes for the colleagues only.
    Note,
    /// An agent says how far things are.
    Update,
    /// The customer asks how far things are.
    Nudge,
    /// An agent says that it is done.
    Fix,
    /// The customer is glad.
    Thanks,
}

impl Turn {
    /// Whether the customer hears from an agent.
    pub(super) fn answers_customer(self) -> bool {
        matches!(self, Self::Ask | Self::Update | Self::Fix)
    }

    fn by_customer(self) -> bool {
        matches!(self, Self::Answer | Self::Nudge | Self::Thanks)
    }
}

/// `count` turns that lead to `status`, with their times: the first of an agent at `first`, a
/// [`Turn::Fix`] at `end`, thanks up to a day later, all of them before `base`.
pub(super) fn turns(
    status: &str,
    count: u8,
    created: i64,
    first: i64,
    end: i64,
    base: i64,
    random: &mut Random,
) -> Vec<(Turn, i64)> {
    use Turn::{Answer, Ask, Fix, Note, Nudge, Thanks, Update};
    let talk: &[Turn] = match (status, count) {
        (_, 0) => &[],
        ("open", 1) => random.pick(&[&[Note] as &[Turn], &[Nudge]]),
        ("open", _) => &[Nudge, Nudge],
        ("in_progress", 1) => random.pick(&[&[Update] as &[Turn], &[Note]]),
        ("in_progress", 2) => &[Ask, Answer],
        ("in_progress", 3) => &[Ask, Answer, Note],
        ("in_progress", _) => &[Ask, Answer, Note, Update],
        ("waiting", 1) => &[Ask],
        ("waiting", 2) => &[Note, Ask],
        ("waiting", _) => &[Update, Nudge, Ask],
        (_, 1) => &[Fix],
        (_, 2) => random.pick(&[&[Fix, Thanks] as &[Turn], &[Note, Fix]]),
        (_, 3) => &[Ask, Answer, Fix],
        (_, 4) => random.pick(&[
            &[Ask, Answer, Fix, Thanks] as &[Turn],
            &[Ask, Answer, Note, Fix],
        ]),
        (_, 5) => &[Ask, Answer, Note, Fix, Thanks],
        (_, _) => &[Ask, Answer, Note, Update, Fix, Thanks],
    };

    let first = first.clamp(created + 1, end);
    let before_end = talk
        .iter()
        .filter(|turn| !matches!(turn, Fix | Thanks))
        .count() as i64;
    let step = (end - first) / (before_end + 1);
    let mut times = Vec::with_capacity(talk.len());
    for (place, turn) in talk.iter().enumerate() {
        let at = match turn {
            Fix => end,
            Thanks => (end + random.between(5 * MINUTE, DAY)).min(end + (base - end) / 2),
            _ if place == 0 => first,
            _ => first + step * place as i64 - random.between(0, step / 3),
        };
        // Agents write in working hours, and nobody answers before being asked.
        let at = if place == 0 || turn.by_customer() || *turn == Fix {
            at
        } else {
            let working = after_working(at, random.between(0, 40));
            if working < end { working } else { at }
        };
        let previous = times.last().map_or(created, |(_, at)| *at);
        times.push((*turn, at.max(previous)));
    }
    times
}

pub(super) fn record(world: &World, index: usize) -> DemoRecord {
    let (ticket, place) = world.comments[index];
    let (ticket, place) = (usize::from(ticket), usize::from(place));
    let plan = plan(world, ticket);
    let (turn, at) = plan.turns[place];
    let words = &plan.words;
    let mut random = Random::new(Stream::Comment, index);

    let talk = plan.topic.small_talk();
    let text = match turn {
        Turn::Ask => plan.case.ask,
        Turn::Answer => plan.case.answer,
        Turn::Note => plan.case.note,
        Turn::Fix => plan.case.fix,
        // By place, so that a customer who asks twice does not repeat the words.
        Turn::Nudge => talk.nudges[(ticket + place) % talk.nudges.len()],
        Turn::Update => random.pick(talk.updates),
        Turn::Thanks => random.pick(talk.thanks),
    };
    let text = sentence(&words.fill(text));
    let body = if turn.answers_customer() && plan.channel != "chat" {
        format!(
            "{}\n\n{text}\n\n{}",
            words.fill(random.pick(topics::AGENT_GREETINGS)),
            words.fill(random.pick(topics::AGENT_CLOSINGS))
        )
    } else {
        text
    };

    let (author, creator) = if turn.by_customer() {
        (words.name.as_str(), None)
    } else {
        (words.agent, world.user(plan.assignee.unwrap_or(1)))
    };
    let note = turn == Turn::Note;
    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Comment, index)));
    fields.insert("body".into(), json!(body));
    fields.insert("ticket".into(), json!(id(Stream::Ticket, ticket)));
    fields.insert("author_name".into(), json!(author));
    fields.insert("is_public".into(), json!(!note));
    fields.insert("kind".into(), json!(if note { "note" } else { "reply" }));
    DemoRecord::new("comment", fields, at, at, creator)
}
