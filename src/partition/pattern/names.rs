//! The English words of dates and times, as Java has them for the locale US.
//!
//! Owns the words and their three forms; which one a time has is said by `print`.

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `Aug`
    Short,
    /// `August`
    Full,
    /// `A`
    Narrow,
}

impl Form {
    /// The form that a letter repeated so often asks for.
    pub(super) fn of(count: usize) -> Self {
        match count {
            4 => Self::Full,
            5 => Self::Narrow,
            _ => Self::Short,
        }
    }
}

/// A list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    Era,
    Quarter,
    Month,
    /// From Sunday.
    DayOfWeek,
    /// Before and after noon.
    HalfDay,
    /// In the order of [`DAY_PERIODS`].
    DayPeriod,
}

const ERAS: [[&str; 3]; 2] = [["BC", "Before Christ", "B"], ["AD", "Anno Domini", "A"]];
const QUARTERS: [[&str; 3]; 4] = [
    ["Q1", "1st quarter", "1"],
    ["Q2", "2nd quarter", "2"],
    ["Q3", "3rd quarter", "3"],
    ["Q4", "4th quarter", "4"],
];
const MONTHS: [[&str; 3]; 12] = [
    ["Jan", "January", "J"],
    ["Feb", "February", "F"],
    ["Mar", "March", "M"],
    ["Apr", "April", "A"],
    ["May", "May", "M"],
    ["Jun", "June", "J"],
    ["Jul", "July", "J"],
    ["Aug", "August", "A"],
    ["Sep", "September", "S"],
    ["Oct", "October", "O"],
    ["Nov", "November", "N"],
    ["Dec", "December", "D"],
];
const DAYS: [[&str; 3]; 7] = [
    ["Sun", "Sunday", "S"],
    ["Mon", "Monday", "M"],
    ["Tue", "Tuesday", "T"],
    ["Wed", "Wednesday", "W"],
    ["Thu", "Thursday", "T"],
    ["Fri", "Friday", "F"],
    ["Sat", "Saturday", "S"],
];
const HALF_DAYS: [[&str; 3]; 2] = [["AM", "AM", "AM"], ["PM", "PM", "PM"]];
const DAY_PERIODS: [[&str; 3]; 6] = [
    ["midnight", "midnight", "mi"],
    ["noon", "noon", "n"],
    ["at night", "at night", "at night"],
    ["in the morning", "in the morning", "in the morning"],
    ["in the afternoon", "in the afternoon", "in the afternoon"],
    ["in the evening", "in the evening", "in the evening"],
];

/// The word at `index`, counted from 0.
pub(super) fn word(words: Words, index: usize, form: Form) -> &'static str {
    let list: &[[&str; 3]] = match words {
        Words::Era => &ERAS,
        Words::Quarter => &QUARTERS,
        Words::Month => &MONTHS,
        Words::DayOfWeek => &DAYS,
        Words::HalfDay => &HALF_DAYS,
        Words::DayPeriod => &DAY_PERIODS,
    };
    list[index][form as usize]
}

/// The part of the day that a minute of it belongs to, as the index of its word.
pub(super) fn day_period(hour: u32, minute: u32) -> usize {
    match (hour, minute) {
        (0, 0) => 0,
        (12, 0) => 1,
        (6..12, _) => 3,
        (12..18, _) => 4,
        (18..21, _) => 5,
        _ => 2,
    }
}
