//! Times of the week, in local time.
//!
//! Source: hub.md B8.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// A time of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// Days on which it begins.
    days: Vec<Weekday>,
    from: Time,
    /// When it ends; on the next day if that is before `from`.
    to: Time,
    tz: TimeZone,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    days: Vec<String>,
    from: String,
    to: String,
    tz: Option<String>,
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        Self::read(&written).map_err(D::Error::custom)
    }
}

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

fn day(name: &str) -> Result<Weekday, String> {
    let name = name.trim().to_ascii_lowercase();
    let found = WEEK.iter().find(|(short, _)| *short == name);
    found
        .map(|(_, day)| *day)
        .ok_or_else(|| format!("{name:?} is no day: write mon, tue, wed, thu, fri, sat or sun"))
}

/// `mon-fri` or `sat`; a range may cross the end of the week.
fn days(text: &str) -> Result<Vec<Weekday>, String> {
    let Some((first, last)) = text.split_once('-') else {
        return Ok(vec![day(text)?]);
    };
    let (mut at, last) = (day(first)?, day(last)?);
    let mut days = vec![at];
    while at != last {
        at = at.next();
        days.push(at);
    }
    Ok(days)
}

fn time(text: &str) -> Result<Time, String> {
    Time::strptime("%H:%M", text).map_err(|_| format!("{text:?} is no time: write it as 22:00"))
}

impl Window {
    fn read(written: &Written) -> Result<Self, String> {
        let mut all = Vec::new();
        for text in &written.days {
            all.extend(days(text)?);
        }
        if all.is_empty() {
            all.extend(WEEK.map(|(_, day)| day));
        }
        let (from, to) = (time(&written.from)?, time(&written.to)?);
        if from == to {
            return Err(format!(
                "a window from {0} to {0} is empty; leave windows out to allow any time",
                written.from
            ));
        }
        let tz = match &written.tz {
            Some(name) => TimeZone::get(name).map_err(|error| error.to_string())?,
            None => TimeZone::system(),
        };
        Ok(Self {
            days: all,
            from,
            to,
            tz,
        })
    }

    /// Whether it is open.
    pub(crate) fn open(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.tz.clone());
        let (today, time) = (local.date(), local.time());
        let begins = |day: Weekday| self.days.contains(&day);
        if self.from < self.to {
            return begins(today.weekday()) && self.from <= time && time < self.to;
        }
        let yesterday = today.saturating_sub(1.day()).weekday();
        (begins(today.weekday()) && self.from <= time) || (begins(yesterday) && time < self.to)
    }
}
