//! Owns the knowledge articles.

use serde_json::{Map, json};

use super::{
    DemoRecord, World,
    calendar::{DAY, after_working, date},
    names::address_part,
    random::{Random, Stream, id},
};

struct Article {
    title: &'static str,
    category: &'static str,
    intro: &'static str,
    steps: [&'static str; 3],
}

pub(super) const COUNT: usize = ARTICLES.len();

pub(super) fn record(world: &World, index: usize) -> DemoRecord {
    let article = &ARTICLES[index];
    let mut random = Random::new(Stream::Article, index);
    let [first, second, third] = article.steps;
    let created = after_working(
        world.base - random.between(60, 530) * DAY,
        random.between(0, 500),
    );
    let updated = after_working(
        created + random.between(0, 50) * DAY,
        random.between(0, 500),
    );
    // Every tenth article is still a draft.
    let published = index % 10 != 9;

    let mut fields = Map::new();
    fields.insert("id".into(), json!(id(Stream::Article, index)));
    fields.insert("title".into(), json!(article.title));
    fields.insert("slug".into(), json!(address_part(article.title, '-')));
    fields.insert(
        "body".into(),
        json!(format!(
            "# {}\n\n{}\n\n1. {first}\n2. {second}\n3. {third}\n\nStill stuck? Write to us and quote this article.\n",
            article.title, article.intro
        )),
    );
    fields.insert("category".into(), json!(article.category));
    fields.insert("published".into(), json!(published));
    if published {
        fields.insert("published_on".into(), json!(date(created)));
    }
    fields.insert(
        "views".into(),
        json!(if published {
            random.between(40, 6_000)
        } else {
            0
        }),
    );
    let author = world.user(1 + index % 2);
    DemoRecord::new("knowledge_article", fields, created, updated, author)
}

const ARTICLES: &[Article] = &[
    Article {
        title: "Set up your first till",
        category: "getting_started",
        intro: "You need about twenty minutes and the box with the till.",
        steps: [
            "Connect power, network and the cash drawer.",
            "Switch the till on and enter the activation code from your welcome letter.",
            "Choose the store and print a test receipt.",
        ],
    },
    Article {
        title: "Invite colleagues and give them roles",
        category: "getting_started",
        intro: "Every colleague signs in with an account of their own.",
        steps: [
            "Open Users and choose Invite.",
            "Enter the email address and pick a role.",
            "The invitation is valid for seven days; you can send it again.",
        ],
    },
    Article {
        title: "The first day checklist",
        category: "getting_started",
        intro: "What most stores prepare before they open with a new till.",
        steps: [
            "Check the printer and the terminal with one small sale.",
            "Count the float and enter it.",
            "Print the list of short keys for the team.",
        ],
    },
    Article {
        title: "Close the day and count the cash",
        category: "getting_started",
        intro: "The daily closing ends a business day and cannot be undone.",
        steps: [
            "Choose Closing on the till.",
            "Count the drawer and enter the amounts.",
            "Sign the report and keep it with the receipts.",
        ],
    },
    Article {
        title: "Label printer is shown as offline",
        category: "hardware",
        intro: "Nine times out of ten the printer has a new network address.",
        steps: [
            "Hold the feed button for five seconds to print the network page.",
            "Compare the address with the one under Settings > Printers.",
            "Give the printer a fixed address in your router.",
        ],
    },
    Article {
        title: "Clean the print head",
        category: "hardware",
        intro: "Do this with every second roll of labels.",
        steps: [
            "Switch the printer off and open the lid.",
            "Wipe the head with the cleaning pen, in one direction only.",
            "Wait two minutes before you close the lid.",
        ],
    },
    Article {
        title: "Pair a scanner with its base",
        category: "hardware",
        intro: "A base holds up to seven scanners.",
        steps: [
            "Scan the reset code on page 3 of the quick start guide.",
            "Put the scanner into the base until it beeps twice.",
            "Scan any article to test.",
        ],
    },
    Article {
        title: "Card terminal: run a host test",
        category: "hardware",
        intro: "The host test shows whether the terminal reaches the payment network.",
        steps: [
            "Open Menu > Diagnostics > Host test.",
            "00 / 00 means all is well.",
            "Any other pair of numbers: send it to us with the serial number.",
        ],
    },
    Article {
        title: "Replace a terminal under warranty",
        category: "hardware",
        intro: "We send the new device first; you return the old one in the same box.",
        steps: [
            "Write to us with the serial number and a short description.",
            "Do not throw away the power supply; it is not part of the swap.",
            "Hand the parcel to the carrier within 14 days.",
        ],
    },
    Article {
        title: "Update the till without standing still",
        category: "hardware",
        intro: "Updates are loaded in the background and installed on restart.",
        steps: [
            "Check that at least 2 GB of disk space are free.",
            "Restart after closing time.",
            "The version is shown under Settings > About.",
        ],
    },
    Article {
        title: "Set up two-factor sign-in",
        category: "account",
        intro: "A code from your phone protects your account even if the password leaks.",
        steps: [
            "Open Profile > Security and choose Authenticator app.",
            "Scan the code with the app and enter the six digits.",
            "Print the backup codes and keep them safe.",
        ],
    },
    Article {
        title: "I have a new phone and no codes",
        category: "account",
        intro: "An administrator of your company can reset the second factor.",
        steps: [
            "Ask your administrator to open Users > your name > Reset second factor.",
            "If you are the only administrator, call us; we ring back at the number we know.",
            "Set up the new phone at the next sign-in.",
        ],
    },
    Article {
        title: "Single sign-on with your identity provider",
        category: "account",
        intro: "SAML 2.0 and OpenID Connect are supported.",
        steps: [
            "Copy the metadata address from Settings > Sign-in.",
            "Set the audience to the value shown there.",
            "Test with one user before you make it mandatory.",
        ],
    },
    Article {
        title: "What each role may do",
        category: "account",
        intro: "Roles are bundles of rights; you can copy and change them.",
        steps: [
            "Cashier: sell and take back.",
            "Shift lead: also discounts and closings.",
            "Manager: everything in their stores, including prices.",
        ],
    },
    Article {
        title: "Read your invoice",
        category: "billing",
        intro: "One invoice a month covers all stores of a contract.",
        steps: [
            "Plans are listed by store, devices by serial number.",
            "Card fees come with each settlement, not with the invoice.",
            "Your order number appears if it is stored in the contract.",
        ],
    },
    Article {
        title: "Change the billing address",
        category: "billing",
        intro: "Changes count from the next invoice on.",
        steps: [
            "Open Contract > Billing.",
            "Enter the address and the VAT number; it is checked at once.",
            "Old invoices can be issued again on request.",
        ],
    },
    Article {
        title: "Refunds and how long they take",
        category: "billing",
        intro: "A refund leaves our bank within two working days.",
        steps: [
            "Cards: three to five days.",
            "Direct debit: two to three days.",
            "Settlements: with the next payout.",
        ],
    },
    Article {
        title: "Upgrade, downgrade, cancel",
        category: "billing",
        intro: "You can change your plan at any time.",
        steps: [
            "Upgrades start at once and are charged by the day.",
            "Downgrades start with the next month.",
            "Cancel with 30 days' notice; your data stays for another 30 days.",
        ],
    },
    Article {
        title: "Webhooks: verify the signature",
        category: "integrations",
        intro: "Compute HMAC-SHA256 over the raw body, before you parse it.",
        steps: [
            "Take the secret from Connect > Webhooks.",
            "Compare in constant time.",
            "Answer with 2xx within 30 seconds and process afterwards.",
        ],
    },
    Article {
        title: "Webhooks: why events may arrive twice",
        category: "integrations",
        intro: "Delivery is at least once.",
        steps: [
            "Store the delivery id and skip what you have seen.",
            "Answer before you process.",
            "Failed deliveries are sent again eight times within a day.",
        ],
    },
    Article {
        title: "API limits and how to live with them",
        category: "integrations",
        intro: "600 reads and 60 writes a minute for each key.",
        steps: [
            "Ask for changes with updated_since instead of polling every item.",
            "Follow the cursor; do not count pages.",
            "On 429 wait as long as Retry-After says.",
        ],
    },
    Article {
        title: "Connect your web shop",
        category: "integrations",
        intro: "Stock, prices and orders are kept in step.",
        steps: [
            "Install the plug-in in your shop.",
            "Map tax classes and variants once.",
            "Start the first full sync at night; it takes a while.",
        ],
    },
    Article {
        title: "Export to your accounting",
        category: "integrations",
        intro: "The export follows the daily closings.",
        steps: [
            "Choose your chart of accounts.",
            "Set rounding to document.",
            "Check vouchers and tips; they have accounts of their own.",
        ],
    },
    Article {
        title: "Install the mobile app",
        category: "mobile",
        intro: "For Android 10 and iOS 15 or newer.",
        steps: [
            "Get it from the store of your phone.",
            "Sign in once while online.",
            "Allow the camera if you want to scan.",
        ],
    },
    Article {
        title: "Count stock offline",
        category: "mobile",
        intro: "The app keeps counting without a network.",
        steps: [
            "Open the count list before you go downstairs.",
            "Do not share one shelf between two phones.",
            "Back online, look at Stocktake > Review for conflicts.",
        ],
    },
    Article {
        title: "Push messages do not arrive",
        category: "mobile",
        intro: "Phones save battery by silencing apps.",
        steps: [
            "Allow notifications for the app.",
            "Take it off the list of sleeping apps.",
            "Sign out and in again to renew the token.",
        ],
    },
    Article {
        title: "Stock differs from the shelf",
        category: "troubleshooting",
        intro: "Start with the item's history.",
        steps: [
            "Look for movements that nobody remembers.",
            "Check for transfers that were booked twice.",
            "Post a correction with a reason; the history keeps both.",
        ],
    },
    Article {
        title: "CSV import: encoding and decimal signs",
        category: "troubleshooting",
        intro: "Save the file as CSV UTF-8.",
        steps: [
            "Names such as Łódź, Müller or Nguyễn look broken in any other encoding.",
            "Choose the decimal sign in step 2.",
            "Use the trial run first; it changes nothing.",
        ],
    },
    Article {
        title: "A report is slow or times out",
        category: "troubleshooting",
        intro: "Big periods over all stores take longest.",
        steps: [
            "Choose fewer stores or a shorter period.",
            "Schedule the report; it is sent to you when it is ready.",
            "If it is slow every morning, tell us the time.",
        ],
    },
    Article {
        title: "Receipts with boxes instead of letters",
        category: "troubleshooting",
        intro: "Old label and receipt templates use an old code page.",
        steps: [
            "Open the template and set the encoding to UTF-8.",
            "Choose the font Halden Sans, which knows more than 3,000 letters.",
            "Print a test with ä, ő, ệ and 茶.",
        ],
    },
];
