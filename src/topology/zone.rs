//! Where a SET stands: a city and a campus in it. What is near fails less often on the way, and what is apart fails apart.

use crate::config::ConfigError;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where the replicas of a SET are, or where a process runs: `city/campus`, or a city alone. New orders go to SETs of the local
/// campus, then to those of the local city, then to the rest; after a failure, to one outside the campus that failed.
///
/// 1 to 64 bytes of printable ASCII in all. A city without a campus is a place of its own in that city.
///
/// ```
/// use ordermint::Zone;
/// let zone: Zone = "shenzhen/2".parse()?;
/// assert_eq!((zone.city(), zone.campus()), ("shenzhen", Some("2")));
/// assert!("shenzhen/2/left".parse::<Zone>().is_err());
/// # Ok::<(), ordermint::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Zone(Arc<str>);

impl Zone {
    /// The longest in bytes: 64.
    pub const BYTES_MAX: usize = 64;

    /// The part before the slash.
    #[must_use]
    pub fn city(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(city, _)| city)
    }

    /// The part behind it, if there is one.
    #[must_use]
    pub fn campus(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, campus)| campus)
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = ConfigError;

    /// # Errors
    /// [`ConfigError::Zone`] for a text that is none.
    fn from_str(text: &str) -> Result<Zone, ConfigError> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let mut parts = text.split('/');
        let (city, campus, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if !printable || text.len() > Self::BYTES_MAX || city.is_empty() || campus == Some("") || more.is_some() {
            return Err(ConfigError::Zone { given: text.chars().take(Self::BYTES_MAX + 1).collect() });
        }
        Ok(Zone(text.into()))
    }
}

impl AsRef<str> for Zone {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How far a SET is from where this process runs. In order: the nearest comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Distance {
    SameCampus,
    SameCity,
    Far,
}

impl Distance {
    /// `there` from `here`. To who does not know where it runs, all are equally near; a SET that does not say where it is is far
    /// from who does know.
    pub(super) fn between(here: Option<&Zone>, there: Option<&Zone>) -> Distance {
        match (here, there) {
            (None, _) => Distance::SameCampus,
            (Some(here), Some(there)) if here == there => Distance::SameCampus,
            (Some(here), Some(there)) if here.city() == there.city() => Distance::SameCity,
            _ => Distance::Far,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_city_and_perhaps_a_campus_and_is_written_as_it_was_read() {
        for (text, city, campus) in [
            ("shenzhen/2", "shenzhen", Some("2")),
            ("shenzhen", "shenzhen", None),
            ("new york/east side", "new york", Some("east side")),
            ("~/!", "~", Some("!")),
        ] {
            let zone: Zone = text.parse().unwrap();
            assert_eq!((zone.city(), zone.campus(), zone.to_string().as_str()), (city, campus, text));
        }
        assert!("x".repeat(64).parse::<Zone>().is_ok());
    }

    #[test]
    fn what_is_no_zone_is_refused_and_quoted_in_short() {
        let long = "x".repeat(65);
        for text in ["", "/", "a/", "/b", "a/b/c", "a//b", "a/b/", "a\n", "a\tb", "köln", "a\0b", "\u{7f}", &long] {
            assert_eq!(text.parse::<Zone>(), Err(ConfigError::Zone { given: text.to_owned() }), "{text:?}");
        }
        let Err(ConfigError::Zone { given }) = "x".repeat(1_000_000).parse::<Zone>() else { panic!("a long one is refused") };
        assert_eq!(given.len(), 65);
    }

    #[test]
    fn a_campus_is_nearer_than_its_city_and_that_nearer_than_the_rest() {
        let zone = |text: &str| text.parse::<Zone>().unwrap();
        let from = |here: &Zone, there: &str| Distance::between(Some(here), Some(&zone(there)));
        let here = zone("a/1");
        assert_eq!(from(&here, "a/1"), Distance::SameCampus);
        assert_eq!(from(&here, "a/2"), Distance::SameCity);
        assert_eq!(from(&here, "a"), Distance::SameCity);
        assert_eq!(from(&here, "b/1"), Distance::Far);
        assert_eq!(Distance::between(Some(&here), None), Distance::Far);
        assert_eq!(from(&zone("a"), "a"), Distance::SameCampus);
        assert_eq!(from(&zone("a"), "a/1"), Distance::SameCity);
        assert_eq!(Distance::between(None, Some(&here)), Distance::SameCampus);
        assert_eq!(Distance::between(None, None), Distance::SameCampus);
    }
}
