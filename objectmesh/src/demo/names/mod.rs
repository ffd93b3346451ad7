//! Owns the names of people, companies and places, by country.

use super::random::Random;

mod europe;
mod overseas;

/// A country's share of the demo data. In a street or postcode, `#` stands for a digit or number.
pub(super) struct Country {
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    pub(super) dial: &'static str,
    pub(super) cities: &'static [&'static str],
    pub(super) streets: &'static [&'static str],
    pub(super) postcode: &'static str,
    pub(super) given: &'static [&'static str],
    pub(super) family: &'static [&'static str],
    pub(super) stems: &'static [&'static str],
    pub(super) trades: &'static [&'static str],
    pub(super) forms: &'static [&'static str],
}

const COUNTRIES: [&[Country]; 2] = [&europe::COUNTRIES, &overseas::COUNTRIES];

/// A country, by lot.
pub(super) fn country(random: &mut Random) -> &'static Country {
    let part = random.pick(&COUNTRIES);
    &part[random.below(part.len())]
}

#[cfg(test)]
pub(super) fn countries() -> impl Iterator<Item = &'static Country> {
    COUNTRIES.into_iter().flatten()
}

pub(super) const JOB_TITLES: &[&str] = &[
    "Store manager",
    "Head of operations",
    "Owner",
    "IT administrator",
    "Accountant",
    "Purchasing manager",
    "Warehouse supervisor",
    "Chief financial officer",
    "E-commerce manager",
    "Managing director",
    "Shift lead",
    "Systems engineer",
];

/// `text` as part of an address on the web: lowercase ASCII letters and digits, `separator`
/// between the words.
pub(super) fn address_part(text: &str, separator: char) -> String {
    let mut part = String::with_capacity(text.len());
    let mut pending = false;
    for letter in text.to_lowercase().chars() {
        let plain = fold(letter);
        if plain.is_empty() {
            pending |= matches!(letter, ' ' | '-' | '&' | ',' | '.' | '/');
            continue;
        }
        if pending && !part.is_empty() {
            part.push(separator);
        }
        pending = false;
        part.push_str(plain);
    }
    part
}

fn fold(letter: char) -> &'static str {
    const ASCII: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
    if let Some(place) = ASCII.find(letter) {
        return &ASCII[place..=place];
    }
    match letter {
        'ä' | 'æ' => "ae",
        'ö' | 'œ' => "oe",
        'ü' => "ue",
        'ß' => "ss",
        'á' | 'à' | 'â' | 'ã' | 'å' | 'ă' | 'ą' | 'ạ' | 'ả' | 'ấ' | 'ầ' | 'ẩ' | 'ậ' | 'ắ' | 'ằ'
        | 'ẵ' | 'ặ' => "a",
        'ç' | 'ć' | 'č' => "c",
        'đ' | 'ď' => "d",
        'é' | 'è' | 'ê' | 'ë' | 'ě' | 'ę' | 'ẹ' | 'ế' | 'ề' | 'ễ' | 'ệ' | 'ẻ' => {
            "e"
        }
        'ğ' => "g",
        'í' | 'ì' | 'î' | 'ï' | 'ı' | 'ị' | 'ỉ' | 'ī' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ó' | 'ò' | 'ô' | 'õ' | 'ø' | 'ő' | 'ō' | 'ọ' | 'ỏ' | 'ổ' | 'ố' | 'ồ' | 'ộ' | 'ớ' | 'ờ'
        | 'ơ' | 'ở' | 'ỡ' | 'ợ' => "o",
        'ř' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ť' | 'ț' => "t",
        'ú' | 'ù' | 'û' | 'ů' | 'ű' | 'ū' | 'ư' | 'ứ' | 'ừ' | 'ữ' | 'ủ' | 'ũ' | 'ự' | 'ử' | 'ụ' => {
            "u"
        }
        'ý' | 'ỳ' | 'ỹ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => "",
    }
}
