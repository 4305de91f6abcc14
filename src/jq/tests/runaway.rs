//! Programs that would never end, or take all memory or stack: each fails its record, in here.

use super::super::*;

/// What became of a program over a document: how many outputs, and the error.
fn run(program: &str, document: &str) -> (usize, Option<String>) {
    run_within(program, document, Bounds::for_record(document.len()))
}

fn run_within(program: &str, document: &str, mut bounds: Bounds) -> (usize, Option<String>) {
    let program = Program::compile(program).unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut count = 0;
    let ended = program.run(document, None, &mut bounds, &mut |output| {
        output.json()?;
        count += 1;
        Ok(())
    });
    (count, ended.err())
}

/// Programs that meet an end of another kind first, and which.
const OTHERS: [&str; 1] = ["def f: (f | .a) |= 1; f: invalid path expression with input null"];

#[test]
fn what_runs_away_is_stopped_by_its_bounds() {
    let mut others = Vec::new();
    for program in [
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: f, f; f",
        "def f: [f]; f",
        "def f: f | f; f",
        "def f: (f)?; f",
        "def f: try f catch f; f",
        "def f(g): f(g | g); f(.)",
        "def f: {a: f}; f",
        "def f: f as $x | $x; f",
        "def f: \"\\(f)\"; f",
        "def f: f // f; f",
        "def f: (f | .a) |= 1; f",
        "[range(1e12)]",
        "[range(0; 1; 0)] | length, [range(0; 1e12; 1)]",
        "range(1e12) | empty",
        "last(range(1e12))",
        "repeat(1)",
        "[repeat(1)]",
        "last(repeat(1))",
        "[limit(1e12; repeat(1))]",
        "nth(1e12; repeat(1))",
        "until(false; . + 1)",
        "until(false; .)",
        "last(1 | while(true; . + 1))",
        "reduce range(1e12) as $x (0; . + $x)",
        "last(foreach range(1e12) as $x (0; . + $x))",
        "reduce repeat(1) as $x ([]; . + [$x])",
        "reduce repeat(1) as $x (\"x\"; . + .)",
        "reduce repeat(1) as $x ([1]; . + .)",
        "reduce repeat(1) as $x (1; [.])",
        "reduce repeat(1) as $x (1; {a: .})",
        "reduce repeat(1) as $x ({}; . * {\"a\\($x)\": .})",
        "reduce range(1e9) as $x ({}; .[\"k\\($x)\"] = $x)",
        "reduce range(100) as $x (1; [., .]) | tojson",
        "reduce range(100) as $x (1; [., .])",
        "reduce range(100) as $x (1; [., .]) | . == (. | map(.))",
        "reduce range(100) as $x (1; [., .]) | [.., 1] | length",
        "reduce range(100) as $x (\"ab\"; . * 10) | length",
        "\"x\" * 1e9",
        "\"x\" * 1e300",
        "[\"x\" * 60000000, \"x\" * 60000000]",
        "[recurse(. + .)]",
        "last(\"x\" | recurse(. + .))",
        "last([1] | recurse([., .]))",
        "[range(1000)] as $a | [$a[] | $a[] | $a[]] | length",
        "[range(1000) | null] as $a | ($a[] | $a[] | $a[]) // 1",
        "[range(1000)] as $a | reduce ($a[] | $a[] | $a[]) as $x (0; .)",
        "[range(1000)] as $a | first($a[] | $a[] | $a[] | select(. < 0))",
        "[range(1000)] | path(.[] as $x | .[] as $y | .[]) | empty",
        "label $out | repeat(1)",
        "label $out | repeat(if false then break $out else 1 end)",
        "def f: label $x | f; f",
        "try repeat(error(\"x\")) catch repeat(1)",
        "repeat(try error(\"x\") catch .)",
        "[.[]?] | [range(20) | [1, 2, 3]] | [combinations]",
        "[range(20) | [range(10)]] | last(combinations)",
        "[range(1e5)] | [.[] as $x | .[] as $y | $x + $y]",
        "[range(1e5)] - [range(1e5; 2e5)]",
        "[range(1e5)] | [path(.., ..)] | map(length) | add | range(1e12)",
        "null | .[1e9] = 1",
        "null | .[1e300] = 1",
        "[] | setpath([range(1e4)]; 1)",
        "reduce range(1e5) as $x (null; setpath([range(600) | 0]; 1))",
        "\"x\" * 100000 | [., .] | [.[] | explode] | map(implode) | join(\"\") | explode | repeat(map(. + 1))",
        "\"a\" * 100000 | gsub(\"\"; \"b\")",
        "\"a\" * 100000 | gsub(\"a\"; \"b\" * 1000)",
        "\"a\" * 200000 | [splits(\"a\")]",
        "\"a\" * 500000 | [match(\"a\"; \"g\")]",
        "\"a\" * 5000 | repeat(test(\"(a|aa)+b\"))",
        "\"a\" * 1000000 | test(\"(\\\\w{1,9}\\\\s?){3}\\\\d$\")",
        "range(1e12) | \"\\(.)\" as $x | \"a\" | test($x)",
        "[range(1e6)] | sort_by(-.) | sort_by(.) | sort_by(-.) | sort",
        "[range(2e5) | tostring] | sort | group_by(.) | unique",
        "[range(1e6)] | index(-1), indices([2, 3]) , repeat(1)",
        "\"a,\" * 1000000 | split(\",\") | map(split(\"\")) | repeat(add)",
        "reduce range(1e6) as $x (\"\"; . + \"ab\")",
        "[range(1e5)] | to_entries | from_entries, repeat(1)",
        "def f: reduce range(2) as $x (0; f); f",
        "def f: foreach range(2) as $x (0; f); f",
        "def a: b; def b: 1; def f(x): x | f(x); f(.)",
        "walk(repeat(1))",
        "limit(1e9; range(1e12))",
        "first(range(1e12) | select(. < 0))",
        "any(range(1e12); . < 0)",
        "all(range(1e12); . >= 0)",
        "[range(1e12)] | length",
        "IN(range(1e12); -1)",
        "getpath([range(1e9)])",
        "@json \"\\(reduce range(60) as $x (1; [., .]))\"",
        "[limit(100000; repeat(\"x\" * 1000))] | join(\"\")",
    ] {
        // The one that does not compile as it stands is no runaway.
        if program.starts_with("def a: b;") {
            assert!(Program::compile(program).is_err());
            continue;
        }
        // Much less than a record has, so that the test is quick.
        let bounds = Bounds { steps: 200_000, bytes: 16 << 20 };
        let (_, error) = run_within(program, "null", bounds);
        // Some meet an error of the interpreter first.
        match error {
            None => others.push(format!("{program} came to an end")),
            Some(error) if error.starts_with("the program was stopped") => {}
            Some(error) => others.push(format!("{program}: {error}")),
        }
    }
    let known = OTHERS.iter().map(|known| (*known).to_owned()).collect::<Vec<_>>();
    assert_eq!(others, known, "what is not stopped");
}

#[test]
fn a_bound_is_not_caught_by_the_program() {
    for program in [
        "try range(1e12) catch \"caught\" | empty",
        "[.[]?, (repeat(1)?)]",
        "(last(repeat(1))) // \"caught\"",
        "label $out | (try (\"x\" * 1e12) catch break $out)",
        "first((try until(false; .) catch 1), 2)",
    ] {
        let bounds = Bounds { steps: 200_000, bytes: 16 << 20 };
        let (count, error) = run_within(program, "null", bounds);
        assert_eq!(count, 0, "{program}");
        assert!(
            error.is_some_and(|error| error.starts_with("the program was stopped")),
            "{program}"
        );
    }
}

#[test]
fn a_program_is_stopped_at_the_same_place_every_time() {
    let ends: Vec<_> =
        (0..3).map(|_| run("range(1e9) | tostring | test(\"7$\")", "null")).collect();
    assert!(ends[0].0 > 10_000);
    assert_eq!((&ends[0], &ends[0]), (&ends[1], &ends[2]));
}

#[test]
fn what_a_record_may_cost_is_shared_by_its_documents() {
    let program = Program::compile("last(range(1000))").expect("compiles");
    let mut bounds = Bounds::for_record(0);
    let mut runs = 0;
    while program.run("0", None, &mut bounds, &mut |_| Ok(())).is_ok() {
        runs += 1;
    }
    assert!((100..100_000).contains(&runs), "{runs}");
}

#[test]
fn ordinary_programs_are_far_from_their_bounds() {
    let wide: Vec<String> =
        (0..20_000).map(|n| format!("{{\"id\":{n},\"v\":\"text {n}\"}}")).collect();
    let document = format!("[{}]", wide.join(","));
    for program in [
        "map(.id) | add",
        "group_by(.id % 7) | map(length)",
        "map(select(.v | test(\"9$\"))) | length",
        "reduce .[] as $x ({}; .[$x.v] = $x.id) | length",
        "[.. | numbers] | length",
        "map(.v |= ascii_upcase) | tojson | length",
        "[paths] | length",
        "sort_by(.v) | .[0]",
        "map(with_entries(.value |= tostring)) | length",
    ] {
        assert_eq!(run(program, &document), (1, None), "{program}");
    }
    let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
    assert_eq!(run("[..] | length", &deep), (1, None));
}

#[test]
fn texts_with_many_matches_are_replaced_and_split() {
    for matches in [50, 5_000] {
        let document = format!("{{\"a\":\"{}\"}}", "x ".repeat(matches));
        for program in [
            format!(".a | gsub(\" \"; \"_\") == (\"x_\" * {matches}) | if . then . else error end"),
            format!("[.a | splits(\" \")] | if length == {matches} + 1 then . else error end"),
        ] {
            assert_eq!(run(&program, &document), (1, None), "{program}");
        }
    }
}

#[test]
fn a_number_of_very_many_digits_is_refused_before_it_is_read() {
    let document = format!("{{\"a\":{}}}", "9".repeat(1 << 20));
    let (_, error) = run(".a", &document);
    assert!(error.as_deref().is_some_and(|why| why.contains("10000 digits")), "{error:?}");
    let text = format!("{{\"a\":\"{}\"}}", "9".repeat(1 << 20));
    assert_eq!(run(".a | length", &text), (1, None));
    assert!(run(".a | fromjson", &text).1.is_some());
}
