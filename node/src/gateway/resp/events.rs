//! Which keyspace events are told: `notify-keyspace-events` and the names of events.
//!
//! Source: "Redis keyspace notifications"; the letters are those of `notify.c`.

use sojourn_core::{Event, Kind};

/// Classes of events, as a set of the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes(u32);

/// Letters in the order in which Redis prints them; `A` stands for those up to `n`... but for `n` and `m`.
const LETTERS: [(char, u32); 14] = [
    ('g', 1),
    ('$', 1 << 1),
    ('l', 1 << 2),
    ('s', 1 << 3),
    ('h', 1 << 4),
    ('z', 1 << 5),
    ('x', 1 << 6),
    ('e', 1 << 7),
    ('t', 1 << 8),
    ('d', 1 << 9),
    ('n', 1 << 10),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', 1 << 13),
];
const KEYSPACE: u32 = 1 << 11;
const KEYEVENT: u32 = 1 << 12;
const ALL: u32 = (1 << 10) - 1;

impl Default for Classes {
    /// Everything: an application that subscribes at one node and configures at another still hears what it subscribed to.
    fn default() -> Self {
        Self(ALL | KEYSPACE | KEYEVENT)
    }
}

impl Classes {
    /// The classes that `letters` name.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        let class = |letter: &u8| match letter {
            b'A' => Some(ALL),
            letter => LETTERS.iter().find(|(other, _)| *other == char::from(*letter)).map(|(_, class)| *class),
        };
        letters.iter().map(class).try_fold(0, |all, class| Some(all | class?)).map(Self)
    }

    /// The letters, as `CONFIG GET` prints them.
    pub fn letters(self) -> String {
        let mut text = String::new();
        let mut hidden = 0;
        if self.0 & ALL == ALL {
            text.push('A');
            hidden = ALL;
        }
        text.extend(LETTERS.iter().filter(|(_, class)| self.0 & class & !hidden != 0).map(|(letter, _)| letter));
        text
    }

    /// Whether `__keyspace@n__:` channels are told of events of this class.
    pub fn tells_keyspace(self, class: char) -> bool {
        self.tells(class) && self.0 & KEYSPACE != 0
    }

    /// Whether `__keyevent@n__:` channels are told of events of this class.
    pub fn tells_keyevent(self, class: char) -> bool {
        self.tells(class) && self.0 & KEYEVENT != 0
    }

    fn tells(self, class: char) -> bool {
        LETTERS.iter().any(|(letter, bit)| *letter == class && self.0 & bit != 0)
    }
}

/// The name and the class of an event of a session of this kind.
pub fn name_and_class(event: Event, kind: Kind) -> (&'static str, char) {
    match event {
        Event::Set => ("set", '$'),
        Event::Expire | Event::Touched => ("expire", 'g'),
        Event::Persist => ("persist", 'g'),
        Event::Del => ("del", 'g'),
        Event::Expired => ("expired", 'x'),
        Event::RenameFrom => ("rename_from", 'g'),
        Event::RenameTo => ("rename_to", 'g'),
        Event::Changed(name @ ("restore" | "copy_to")) => (name, 'g'),
        Event::Changed(name) => (name, class_of(kind)),
    }
}

fn class_of(kind: Kind) -> char {
    match kind {
        Kind::String => '$',
        Kind::Hash => 'h',
        Kind::Set => 's',
        Kind::SortedSet => 'z',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_printed_as_redis_does() {
        for (given, printed) in [("KEA", "AKE"), ("Egx", "gxE"), ("", ""), ("Kg$lshzxetd", "AK"), ("mK", "Km")] {
            assert_eq!(Classes::parse(given.as_bytes()).unwrap().letters(), printed);
        }
        assert_eq!(Classes::parse(b"KQ"), None);
    }

    #[test]
    fn only_named_classes_are_told() {
        let classes = Classes::parse(b"Ex").unwrap();
        assert!(classes.tells_keyevent('x'));
        assert!(!classes.tells_keyspace('x'));
        assert!(!classes.tells_keyevent('g'));
    }
}
