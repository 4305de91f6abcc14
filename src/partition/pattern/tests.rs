//! Patterns as JDK 17 prints them, and what it refuses.

use proptest::prelude::*;

use super::*;
use crate::record::UnixMillis;

/// 2018-08-27T10:30:05Z, the instant of Firehose's own examples.
const EXAMPLE: i64 = 1_535_365_805_000;

fn zone(name: &str) -> Zone {
    Zone::named(name).expect(name)
}

fn print_in(zone: &Zone, pattern: &str, instant: i64) -> String {
    let moment = zone.at(UnixMillis(instant));
    let mut printed = String::new();
    for part in parse(pattern, zone).expect(pattern) {
        match part {
            Part::Literal(text) => printed.push_str(&text),
            Part::Field(field) => field.print(&moment, &mut printed),
        }
    }
    printed
}

fn print(pattern: &str, instant: i64) -> String {
    print_in(&Zone::UTC, pattern, instant)
}

#[test]
fn fields_print_as_java_does() {
    // 2018-08-07T09:03:05.999Z
    let instant = 1_533_632_585_999;
    for (pattern, printed) in [
        ("yyyy", "2018"),
        ("yyy", "2018"),
        ("yy", "18"),
        ("y", "2018"),
        ("yyyyy", "02018"),
        ("yyyyyyyyyyyyyyyyyyy", "0000000000000002018"),
        ("M/MM", "8/08"),
        ("d/dd", "7/07"),
        ("H/HH", "9/09"),
        ("m/mm", "3/03"),
        ("s/ss", "5/05"),
        ("S/SSS/n", "0/000/0"),
        ("yyyy/MM/dd/HH/", "2018/08/07/09/"),
        ("yyyyMMdd", "20180807"),
        ("'year='yyyy'/month='MM", "year=2018/month=08"),
        ("''yyyy", "'2018"),
        ("'o''clock'", "o'clock"),
        ("''''", "'"),
        ("yyyy-MM-dd'T'HH:mm:ss", "2018-08-07T09:03:05"),
        ("é~yy", "é~18"),
    ] {
        assert_eq!(print(pattern, instant), printed, "{pattern}");
    }
}

#[test]
fn every_letter_prints_as_java_does_in_utc() {
    for (pattern, printed) in [
        ("yyyy|yy|y", "2018|18|2018"),
        ("yyyyy|uuuu", "02018|2018"),
        ("YYYY|G|GGGG|GGGGG", "2018|AD|Anno Domini|A"),
        ("M|L|MM", "8|8|08"),
        ("MMM|LLL|MMMM|MMMMM", "Aug|Aug|August|A"),
        ("d|dd|D|DDD", "27|27|239|239"),
        ("H|HH|k|K|h", "10|10|10|10|10"),
        ("m|mm|s|ss", "30|30|5|05"),
        ("S|SSS|n", "0|000|0"),
        ("A", "37805000"),
        ("N", "37805000000000"),
        ("a|B", "AM|in the morning"),
        ("E|EEEE|EEEEE", "Mon|Monday|M"),
        ("e|c|ee|eee|ccc", "2|2|02|Mon|Mon"),
        ("w|ww|W|F", "35|35|5|6"),
        ("Q|q|QQ|QQQ|QQQQ", "3|3|03|Q3|3rd quarter"),
        ("VV|z|zzzz|v", "UTC|UTC|Coordinated Universal Time|UTC"),
        ("O|OOOO", "GMT|GMT"),
        ("X|XX|XXX|x|xx|xxx", "Z|Z|Z|+00|+0000|+00:00"),
        ("Z|ZZZZ|ZZZZZ|g", "+0000|GMT|Z|58357"),
        ("[yyyy]", "2018"),
        ("[[yyyy]-MM", "2018-08"),
        ("ppppd", "  27"),
        ("ppd[MM]", "2708"),
        ("yyyyppM", "2018 8"),
        ("ppdppM", "27 8"),
        ("ppppVV", " UTC"),
    ] {
        assert_eq!(print(pattern, EXAMPLE), printed, "{pattern}");
    }
}

#[test]
fn every_letter_prints_as_java_does_in_new_york() {
    let new_york = zone("America/New_York");
    for (pattern, printed) in [
        ("yyyy/MM/dd/HH/", "2018/08/27/06/"),
        ("VV|z|zzzz|v|vvvv", "America/New_York|EDT|Eastern Daylight Time|ET|Eastern Time"),
        ("O|OOOO|X", "GMT-4|GMT-04:00|-04"),
        ("XX|xx|Z", "-0400|-0400|-0400"),
        ("XXX|xxx|ZZZZZ", "-04:00|-04:00|-04:00"),
        ("ZZZZ", "GMT-04:00"),
    ] {
        assert_eq!(print_in(&new_york, pattern, EXAMPLE), printed, "{pattern}");
    }
}

#[test]
fn offsets_have_as_much_as_their_letters_ask_for() {
    // 00:44:30 behind Greenwich until 1972.
    let monrovia = zone("Africa/Monrovia");
    let pattern = "X XX XXX XXXX XXXXX O OOOO";
    let printed = "-0044 -0044 -00:44 -004430 -00:44:30 GMT-0:44:30 GMT-00:44:30";
    assert_eq!(print_in(&monrovia, pattern, 0), printed);
    let kathmandu = zone("Asia/Kathmandu");
    assert_eq!(print_in(&kathmandu, "X O OOOO", EXAMPLE), "+0545 GMT+5:45 GMT+05:45");
    let west = zone("Etc/GMT+11");
    assert_eq!(print_in(&west, "x O z VV", EXAMPLE), "-11 GMT-11 GMT-11:00 Etc/GMT+11");
}

#[test]
fn the_week_year_is_not_the_year() {
    let day = |days: i64| days * 86_400_000;
    for (days, printed) in
        [(18_993, "2022-W01"), (18_992, "2022-W01"), (18_623, "2021-W01"), (18_994, "2022-W02")]
    {
        assert_eq!(print("YYYY-'W'ww", day(days)), printed);
    }
}

#[test]
fn odd_years_print_as_java_does() {
    let year_10_000 = 253_402_300_800_000;
    assert_eq!(print("yyyy", year_10_000), "+10000");
    assert_eq!(print("yyyyy", year_10_000), "10000");
    assert_eq!(print("yyy", year_10_000), "10000");
    assert_eq!(print("yy", year_10_000), "00");
    // 0000-12-31 is in the year 1 before the common era.
    assert_eq!(print("yyyy-MM-dd G", -62_135_596_800_001), "0001-12-31 BC");
    assert_eq!(print("uuuu", -62_135_596_800_001), "0000");
    assert_eq!(print("uuuu", -62_198_755_200_000), "-0001");
    assert_eq!(print("MM", i64::MIN), "01");
    assert_eq!(print("MM", i64::MAX), "12");
}

#[test]
fn letters_of_java_are_accepted_and_no_others() {
    for letter in ('A'..='Z').chain('a'..='z') {
        let is_java = !"CIJPRTUVbfijloprt".contains(letter);
        let parsed = parse(&letter.to_string(), &Zone::UTC);
        assert_eq!(parsed.is_ok(), is_java, "{letter}: {parsed:?}");
    }
}

#[test]
fn errors_name_what_is_allowed() {
    for (pattern, part) in [
        ("", "empty"),
        ("yyyy/T", "'T' is no letter"),
        ("MMMMMM", "or MMM to MMMMM"),
        ("ddd", "write dd"),
        ("DDDD", "write DDD"),
        ("V", "write VV"),
        ("VVV", "write VV"),
        ("cc", "write c,"),
        ("BB", "write B,"),
        ("OO", "write O or OOOO"),
        ("vv", "write v or vvvv"),
        ("aa", "write a"),
        ("zzzzz", "write z or zzzz"),
        ("ZZZZZZ", "write Z,"),
        ("SSSSSSSSSS", "write SSS"),
        ("yyyyyyyyyyyyyyyyyyyy", "write yyyy"),
        ("yyyyyyyyyyy", "write yyyy"),
        ("yyyy]", "none began"),
        ("yyyy#", "'#' has no meaning"),
        ("p", "none follows"),
        ("ppp-d", "none follows"),
        ("p[d]", "none follows"),
        ("pM", "write 'p' 2 times"),
        ("ppppEEEE", "can have 9: write 'p' 9 times"),
        ("ppdMM", "'MM' follows a padded number"),
        ("'year=yyyy", "no end"),
        ("yyyy'", "no end"),
        ("'''", "no end"),
    ] {
        let error = parse(pattern, &Zone::UTC).expect_err(pattern).to_string();
        assert!(error.contains(part), "{pattern}: {error}");
    }
}

#[test]
fn only_plain_digits_can_be_read_back() {
    for (pattern, digits) in [
        ("yyyy", Some(('y', 4))),
        ("MM", Some(('M', 2))),
        ("MMM", None),
        ("ppd", None),
        ("YYYY", None),
        ("uuuu", None),
        ("D", None),
        ("h", None),
        ("ww", None),
    ] {
        let parts = parse(pattern, &Zone::UTC).expect(pattern);
        let [Part::Field(field)] = parts.as_slice() else { panic!("{pattern}: {parts:?}") };
        assert_eq!(field.digits(), digits, "{pattern}");
    }
}

fn pattern_text() -> impl Strategy<Value = String> {
    let letters = "GyuYQqMLdDgEecFwWaBHkKhmsSAnNVzvOZXx";
    let field = (0..letters.len(), 1_usize..6, 0_usize..3).prop_map(|(index, count, pad)| {
        "p".repeat(pad * 9) + &letters[index..=index].repeat(count)
    });
    let piece = prop_oneof![8 => field, 1 => "[-_.:' ]", 1 => "[\\[\\]é{#}]"];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn fields_never_panic_and_never_open_a_folder(
        text in prop_oneof![pattern_text(), "[yMdHms'/é{\\PC]{0,12}"], at: i64, index in 0..597_usize,
    ) {
        let zone = zone(Zone::names().nth(index).unwrap_or("UTC"));
        let near = at.rem_euclid(4_000_000_000_000);
        for at in [at, near] {
            let moment = zone.at(UnixMillis(at));
            for part in parse(&text, &zone).unwrap_or_default() {
                if let Part::Field(field) = part {
                    let mut printed = String::new();
                    field.print(&moment, &mut printed);
                    prop_assert!(!printed.is_empty() && printed.len() <= field.bytes_max());
                    let is_odd = |c: char| c.is_control() || "/=%".contains(c);
                    prop_assert!(!printed.contains(is_odd), "{printed}");
                    prop_assert!(printed != "." && printed != "..");
                }
            }
        }
    }
}
