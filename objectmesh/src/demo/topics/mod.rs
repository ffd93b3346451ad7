//! Owns what tickets are about: topics, each with the sentences of a whole conversation.
//!
//! Every sentence may hold the words in braces that `Words` knows, such as `{product}`.

mod billing;
mod cloud;
mod hardware;
mod integrations;

/// What a group of requests has in common.
pub(super) struct Topic {
    pub(super) tags: &'static [&'static str],
    pub(super) products: &'static [&'static str],
    /// What the screen or the log says.
    pub(super) errors: &'static [&'static str],
    pub(super) cases: &'static [Case],
}

/// One kind of request, and how the conversation about it goes.
pub(super) struct Case {
    pub(super) subject: &'static str,
    pub(super) detail: &'static str,
    /// An agent asks for something.
    pub(super) ask: &'static str,
    /// The customer answers.
    pub(super) answer: &'static str,
    /// What an agent writes down for the colleagues.
    pub(super) note: &'static str,
    /// How it ends.
    pub(super) fix: &'static str,
}

const GROUPS: &[&[Topic]] = &[
    hardware::TOPICS,
    cloud::TOPICS,
    billing::TOPICS,
    integrations::TOPICS,
];

/// How many topics there are.
pub(super) fn count() -> usize {
    GROUPS.iter().map(|group| group.len()).sum()
}

/// The topic of that number; numbers wrap around.
pub(super) fn topic(number: usize) -> &'static Topic {
    let mut rest = number % count();
    for group in GROUPS {
        if rest < group.len() {
            return &group[rest];
        }
        rest -= group.len();
    }
    &hardware::TOPICS[0]
}

pub(super) const GREETINGS: &[&str] = &[
    "Hello,",
    "Hi team,",
    "Good morning,",
    "Dear support,",
    "Hi there,",
    "Hello support team,",
];

pub(super) const IMPACTS: &[&str] = &[
    "It affects {site} and started {since}.",
    "We first saw this {since}. Nothing was changed on our side.",
    "{n} colleagues at {site} cannot work properly because of it.",
    "It is not dramatic, but it costs us about {n} minutes every day.",
    "We have a queue at {site}, so please hurry.",
    "This is the second time since {since}; the last time it went away by itself.",
    "Only {site} is affected, all the others are fine.",
    "We run version {version}.",
    "Our month-end closing depends on it.",
    "A restart helped for about {n} minutes, then it came back.",
];

pub(super) const CLOSINGS: &[&str] = &[
    "Thanks,\n{first}",
    "Kind regards,\n{name}\n{company}",
    "Best,\n{first}",
    "Regards, {name}",
    "Thank you in advance!\n{first}",
];

pub(super) const AGENT_GREETINGS: &[&str] = &[
    "Hi {first},",
    "Hello {first},",
    "Hi {first}, thanks for getting in touch.",
    "Hello {first}, thank you for the details.",
    "Good day {first},",
];

pub(super) const AGENT_CLOSINGS: &[&str] = &[
    "Best, {agent}",
    "Kind regards\n{agent}",
    "{agent}, Halden support",
    "Thanks, {agent}",
];

/// What is said about any kind of request, in one set for faults and one for everything else.
pub(super) struct SmallTalk {
    /// An agent reports progress.
    pub(super) updates: &'static [&'static str],
    /// The customer asks how it is going.
    pub(super) nudges: &'static [&'static str],
    pub(super) thanks: &'static [&'static str],
}

impl Topic {
    /// A topic with error messages is about a fault.
    pub(super) fn small_talk(&self) -> &'static SmallTalk {
        if self.errors.is_empty() {
            &ABOUT_REQUESTS
        } else {
            &ABOUT_FAULTS
        }
    }
}

const ABOUT_FAULTS: SmallTalk = SmallTalk {
    updates: &[
        "A short update: we can reproduce it with {product} {version} and a developer is looking at it. I will write again tomorrow.",
        "I have passed your report to the {product} team and will come back to you as soon as they answer.",
        "We see it in our logs too, so it is not your equipment. The team is working on it.",
        "The change is in testing now. If all goes well, {site} gets it tonight.",
    ],
    nudges: &[
        "Is there any news on this? {site} is still affected.",
        "Just checking in: has anybody had a look yet?",
        "It happened again today. Can you please give us an estimate?",
        "I attach another screenshot. Please let me know if you need anything else.",
    ],
    thanks: &[
        "That did it, thank you!",
        "Works again at {site}. Thanks for the quick help, {agent}.",
        "Confirmed, everything is back to normal. You can close the ticket.",
        "Perfect, thank you very much.",
        "Great, I have told the team. Thanks!",
        "Solved, though it took longer than we hoped. Thanks anyway.",
        "Many thanks, {agent}! I did not know about that setting.",
    ],
};

const ABOUT_REQUESTS: SmallTalk = SmallTalk {
    updates: &[
        "A short update: I have asked the colleagues in charge and expect their answer tomorrow.",
        "This needs a second signature here. I will write again as soon as I have it.",
        "I have everything I need from you. You hear from me by the end of the week.",
    ],
    nudges: &[
        "Is there any news on this?",
        "Just checking in: has anybody had a look yet?",
        "My colleagues are asking me about it. When can we expect an answer?",
        "Did my message arrive? Please let me know if you need anything else.",
    ],
    thanks: &[
        "Thank you, that is what I needed.",
        "Received, many thanks, {agent}.",
        "Perfect, thank you very much.",
        "Great, I have told the team. Thanks!",
        "Thanks for the quick answer. You can close this.",
        "All right, thank you for your help.",
    ],
};
