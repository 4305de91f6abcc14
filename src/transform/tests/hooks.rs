//! Steps that ask somebody outside: real sockets, real processes.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tasks::Tasks;

/// What a scripted server does with one request.
#[derive(Clone)]
enum Reply {
    /// Answers so.
    Says(u16, String),
    /// Answers each record `Ok` with its own data.
    Echo,
    /// As `Echo`, with a header that says that the function failed.
    FunctionError(String),
    /// Ends the connection without a word.
    Hangs,
    /// Ends the connection in the middle of the body.
    BreaksOff,
    /// Never answers.
    Silence,
    /// Ends the connection without a word when a record has this data, and otherwise echoes.
    HangsOver(&'static str),
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
struct Seen {
    head: String,
    event: Value,
}

/// A server that does one thing after another, and the last one for ever.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Ends with the server.
    _task: Tasks,
}

impl Server {
    async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let noted = seen.clone();
        let serve = async move {
            let mut script = script.into_iter().peekable();
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let request = request(&mut stream).await;
                noted.lock().expect("no panic").push(request.clone());
                let reply = script.peek().expect("a script").clone();
                if script.len() > 1 {
                    script.next();
                }
                answer(stream, &request, reply).await;
            }
        };
        let task = Tasks::new();
        task.spawn("server", serve);
        Self { url, seen, _task: task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn request(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    loop {
        let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8(bytes[..end].to_vec()).expect("a head");
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).expect("a length");
            let length: usize =
                length.split_whitespace().next().expect("a number").parse().expect("a number");
            if bytes.len() >= end + 4 + length {
                let event = serde_json::from_slice(&bytes[end + 4..]).expect("an event");
                return Seen { head, event };
            }
        }
        assert!(stream.read_buf(&mut bytes).await.expect("bytes") > 0, "an early end");
    }
}

async fn answer(mut stream: TcpStream, request: &Seen, reply: Reply) {
    let echo = || {
        let records = request.event["records"].as_array().expect("records").iter();
        let records = records.map(|record| {
            json!({"recordId": record["recordId"], "result": "Ok", "data": record["data"]})
        });
        json!({"records": records.collect::<Vec<_>>()}).to_string()
    };
    let holds = |data: &str| {
        let records = request.event["records"].as_array().expect("records").iter();
        records.clone().any(|record| record["data"] == STANDARD.encode(data))
    };
    let (status, more, body) = match reply {
        Reply::HangsOver(data) if holds(data) => return,
        Reply::HangsOver(_) => (200, "", echo()),
        Reply::Says(status, body) => (status, "", body),
        Reply::Echo => (200, "", echo()),
        Reply::FunctionError(body) => (200, "X-Amz-Function-Error: Unhandled\r\n", body),
        Reply::Hangs => return,
        Reply::BreaksOff => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"records\"";
            stream.write_all(head.as_bytes()).await.expect("a write");
            return;
        }
        Reply::Silence => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            return;
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n{more}\
         Content-Length: {length}\r\n\r\n"
    );
    // Who has read enough may be gone.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}

fn name() -> HookName {
    HookName { stream: "s".into(), step: "transform[0]".into() }
}

fn origin() -> Origin {
    let stream_arn = "arn:aws:firehose:us-east-1:000000000000:deliverystream/s".into();
    Origin { stream_arn, region: "us-east-1".into() }
}

fn patience(retries: u32) -> Patience {
    Patience { timeout: Duration::from_secs(30), retries }
}

fn hints() -> Hints {
    Hints { size_bytes: 1 << 20, interval: Duration::from_secs(1) }
}

fn http(url: &str, patience: Patience) -> Http {
    let headers = vec![("Authorization".into(), "Bearer hunter2".into())];
    let settings = HttpSettings { url: url.into(), headers, patience, hints: hints() };
    Http::new(name(), origin(), settings).expect("a hook")
}

fn lambda(url: &str, patience: Patience) -> Lambda {
    let arn = "arn:aws:lambda:eu-west-1:111122223333:function:enrich";
    let settings = LambdaSettings {
        arn: FunctionArn::parse(arn).expect("an ARN"),
        region: "eu-west-1".into(),
        endpoint: Some(url.into()),
        keys: Some(Keys { access_key: "AKIA".into(), secret: "hunter2".into() }),
        patience,
        hints: hints(),
    };
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(aws_sdk_lambda::config::BehaviorVersion::latest());
    Lambda::new(name(), origin(), settings, config.build())
}

#[tokio::test]
async fn http_posts_the_event_and_its_headers() {
    let server = Server::start(vec![Reply::Echo]).await;
    let hook = http(&format!("{}/enrich?v=1", server.url), patience(0));
    let verdicts = hook.apply(&items(&["a", ""])).await.expect("an answer");
    assert_eq!(shown_all(&verdicts), ["a", ""]);
    let [seen] = <[Seen; 1]>::try_from(server.seen()).expect("one request");
    assert!(seen.head.starts_with("POST /enrich?v=1 HTTP/1.1\r\n"), "{}", seen.head);
    let head = seen.head.to_lowercase();
    assert!(head.contains("authorization: bearer hunter2"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(seen.event["deliveryStreamArn"], origin().stream_arn);
    assert!(!format!("{hook:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_query_of_a_url_is_not_shown() {
    let server = Server::start(vec![Reply::Says(503, String::new())]).await;
    let hook = http(&format!("{}/enrich?code=hunter2", server.url), patience(0));
    let away = hook.apply(&items(&["a"])).await.expect_err("away");
    assert!(away.reason.contains("/enrich is away"), "{away}");
    assert!(!format!("{away} {hook:?}").contains("hunter2"), "{away} {hook:?}");
}

#[tokio::test]
async fn failed_attempts_are_repeated_with_new_invocation_ids_and_the_same_record_ids() {
    let failures = [
        Reply::Says(500, "oops".into()),
        Reply::Says(404, String::new()),
        Reply::Says(204, String::new()),
        Reply::Says(302, String::new()),
        Reply::Says(200, "<html>".into()),
        Reply::BreaksOff,
    ];
    for failure in failures {
        let server = Server::start(vec![failure.clone(), failure, Reply::Echo]).await;
        let verdicts = http(&server.url, patience(2)).apply(&items(&["a"])).await;
        assert_eq!(shown_all(&verdicts.expect("an answer")), ["a"]);
        let seen = server.seen();
        let ids: std::collections::HashSet<String> =
            seen.iter().map(|seen| seen.event["invocationId"].to_string()).collect();
        assert_eq!((seen.len(), ids.len()), (3, 3));
        assert!(seen.iter().all(|seen| seen.event["records"] == seen.event["records"]));
    }
}

#[tokio::test]
async fn after_the_last_attempt_the_records_fail() {
    for (reply, code) in [
        (Reply::Says(500, "oops".into()), "Lambda.FunctionError x3"),
        (Reply::Says(200, "garbage".into()), "Lambda.JsonProcessingException x3"),
        (Reply::Says(200, "x".repeat(contract::PAYLOAD_BYTES_MAX + 1)), "Lambda.FunctionError x3"),
    ] {
        let server = Server::start(vec![reply]).await;
        let verdicts = http(&server.url, patience(2)).apply(&items(&["a", "b"])).await;
        assert_eq!(shown_all(&verdicts.expect("an answer")), [code, code]);
        assert_eq!(server.seen().len(), 3);
    }
    let server = Server::start(vec![Reply::Silence]).await;
    let patience = Patience { timeout: Duration::from_millis(50), retries: 1 };
    let verdicts = http(&server.url, patience).apply(&items(&["a"])).await;
    assert_eq!(shown_all(&verdicts.expect("an answer")), ["Lambda.FunctionError x2"]);
}

#[tokio::test]
async fn a_hook_that_cannot_be_reached_is_away_and_uses_up_no_attempt() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let unheard = format!("http://{}", port.local_addr().expect("an address"));
    drop(port);
    let away = http(&unheard, patience(0)).apply(&items(&["a"])).await.expect_err("nobody");
    assert_eq!(away.action, Action::Retry);
    assert!(away.reason.contains(&unheard) && away.reason.contains("refused"), "{away}");
    let replies = [429, 503].map(|status| Reply::Says(status, "busy".into()));
    for reply in replies {
        let server = Server::start(vec![reply]).await;
        let away = http(&server.url, patience(5)).apply(&items(&["a"])).await;
        assert_eq!(away.expect_err("away").action, Action::Retry);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_hook_that_answers_about_nothing_is_away_however_it_breaks() {
    let replies = [502, 504].map(|status| Reply::Says(status, "gone".into()));
    for reply in replies.into_iter().chain([Reply::Hangs]) {
        let server = Server::start(vec![reply]).await;
        let away = http(&server.url, patience(1)).apply(&items(&["a", "b", "c", "d"])).await;
        assert_eq!(away.expect_err("away").action, Action::Retry);
        // Twice the four, the two and the one; then one question for each of the others.
        assert_eq!(server.seen().len(), 8);
    }
}

#[tokio::test]
async fn a_record_that_brings_the_hook_down_each_time_fails_and_its_neighbours_pass() {
    for data in
        [["bad", "a", "b", "c", "d"], ["a", "b", "bad", "c", "d"], ["a", "b", "c", "d", "bad"]]
    {
        let server = Server::start(vec![Reply::HangsOver("bad")]).await;
        let verdicts = http(&server.url, patience(1)).apply(&items(&data)).await;
        let expected =
            data.map(|data| if data == "bad" { "Lambda.FunctionError x2" } else { data });
        assert_eq!(shown_all(&verdicts.expect("an answer")), expected);
    }
    // Alone, it cannot be told from a hook that is away.
    let server = Server::start(vec![Reply::HangsOver("bad")]).await;
    http(&server.url, patience(1)).apply(&items(&["bad"])).await.expect_err("away");
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_no_attempt() {
    // Nobody accepts, and the queue of those who wait is full.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a queue");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let patience = Patience { timeout: Duration::from_millis(400), retries: 0 };
    let url = format!("http://{address}");
    http(&url, patience).apply(&items(&["a"])).await.expect_err("away");
    lambda(&url, patience).apply(&items(&["a"])).await.expect_err("away");
}

#[tokio::test]
async fn a_chain_waits_for_a_hook_that_is_away() {
    let busy = Reply::Says(503, String::new());
    let server = Server::start(vec![busy.clone(), busy, Reply::Echo]).await;
    let chain = Chain::new(vec![Arc::new(http(&server.url, patience(0)))]);
    let heard = Mutex::new(Vec::new());
    let troubled = |trouble: Option<&Unavailable>| {
        heard.lock().expect("no panic").push(trouble.map(|trouble| trouble.action));
    };
    let ended = chain.begin(items(&["a"])).go_on(&troubled).await;
    assert_eq!(ended, [[Transformed::Part(Part::new("a"))]]);
    assert_eq!(*heard.lock().expect("no panic"), [Some(Action::Retry), Some(Action::Retry), None]);
}

#[tokio::test]
async fn a_large_batch_goes_in_several_invocations() {
    let server = Server::start(vec![Reply::Echo]).await;
    let batch: Vec<_> =
        (0..6).map(|id| item(&id.to_string(), vec![b'0' + id; 1_024_000])).collect();
    let verdicts = http(&server.url, patience(0)).apply(&batch).await.expect("an answer");
    let data = verdicts.iter().map(|verdict| match verdict {
        Verdict::Parts(parts) => parts[0].data.clone(),
        other => panic!("{other:?}"),
    });
    assert!(data.eq(batch.iter().map(|item| item.part.data.clone())));
    assert_eq!(server.seen().len(), 2);
    let large = item("0", vec![0; PART_BYTES_MAX]);
    let verdicts = http(&server.url, patience(0)).apply(&[large]).await.expect("an answer");
    assert_eq!(shown_all(&verdicts), ["Lambda.RequestTooLarge x1"]);
}

#[tokio::test]
async fn lambda_is_invoked_by_its_arn_and_signed() {
    let server = Server::start(vec![Reply::Echo]).await;
    let verdicts = lambda(&server.url, patience(0)).apply(&items(&["a"])).await;
    assert_eq!(shown_all(&verdicts.expect("an answer")), ["a"]);
    let [seen] = <[Seen; 1]>::try_from(server.seen()).expect("one request");
    let path = "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A111122223333%3Afunction\
                %3Aenrich/invocations HTTP/1.1";
    assert!(seen.head.starts_with(path), "{}", seen.head);
    assert!(seen.head.contains("/eu-west-1/lambda/aws4_request"), "{}", seen.head);
}

#[tokio::test]
async fn errors_of_a_function_are_repeated_and_then_name_it() {
    let error = Reply::FunctionError("{\"errorMessage\":\"no\"}".into());
    let server = Server::start(vec![error.clone(), Reply::Echo]).await;
    let verdicts = lambda(&server.url, patience(1)).apply(&items(&["a"])).await;
    assert_eq!(shown_all(&verdicts.expect("an answer")), ["a"]);
    let server = Server::start(vec![error]).await;
    let verdicts = lambda(&server.url, patience(1)).apply(&items(&["a"])).await;
    let verdicts = verdicts.expect("an answer");
    let [Verdict::Failed(failure)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert_eq!((failure.code.as_str(), failure.attempts), ("Lambda.FunctionError", 2));
    let arn = "arn:aws:lambda:eu-west-1:111122223333:function:enrich:$LATEST";
    assert_eq!(failure.lambda_arn.as_deref(), Some(arn));
    let server = Server::start(vec![Reply::Silence]).await;
    let patience = Patience { timeout: Duration::from_millis(100), retries: 0 };
    let verdicts = lambda(&server.url, patience).apply(&items(&["a"])).await;
    assert_eq!(shown_all(&verdicts.expect("an answer")), ["Lambda.FunctionError x1"]);
}

#[tokio::test]
async fn a_function_that_cannot_be_called_is_away_and_some_ways_need_a_person() {
    for (status, code, action) in [
        (429, "TooManyRequestsException", Action::Retry),
        (500, "ServiceException", Action::Retry),
        (502, "EC2ThrottledException", Action::Retry),
        (503, "", Action::Retry),
        (404, "ResourceNotFoundException", Action::Alarm),
        (403, "AccessDeniedException", Action::Alarm),
        (403, "UnrecognizedClientException", Action::Alarm),
    ] {
        let body = json!({"__type": code, "message": "because"}).to_string();
        let server = Server::start(vec![Reply::Says(status, body)]).await;
        let away = lambda(&server.url, patience(3)).apply(&items(&["a"])).await;
        let away = away.expect_err(code);
        assert_eq!(away.action, action, "{away}");
        assert_eq!(server.seen().len(), 1, "{code}");
    }
    let server = Server::start(vec![Reply::Hangs]).await;
    let away = lambda(&server.url, patience(3)).apply(&items(&["a"])).await.expect_err("nobody");
    assert_eq!(away.action, Action::Retry, "{away}");
}

fn environment() -> Vec<(String, String)> {
    vec![("PATH".into(), env!("PATH").into()), ("HOOK_KEY".into(), "hunter2".into())]
}

/// A command that runs a Python program, fast to give up.
fn python(program: &str, timeout: Duration, retries: u32) -> Command {
    let argv = ["python3", "-c", program].map(ToOwned::to_owned).to_vec();
    Command::new(
        name(),
        CommandSettings {
            argv,
            environment: environment(),
            patience: Patience { timeout, retries },
        },
    )
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_command_is_a_loop_over_lines() {
    let program = r#"
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    event = json.loads(record["data"])
    print(json.dumps({"recordId": record["recordId"], "data": json.dumps(event["a"])}))
"#;
    let hook = python(program, LONG, 0);
    for _ in 0..3 {
        let verdicts = hook.apply(&items(&["{\"a\":1}", "{\"a\":\"é\\n\"}"])).await;
        assert_eq!(shown_all(&verdicts.expect("answers")), ["1", "\"\\u00e9\\n\""]);
    }
}

#[tokio::test]
async fn a_command_answers_in_any_order_and_in_every_way() {
    let program = r#"
import json, sys
lines = [json.loads(sys.stdin.readline()) for _ in range(8)]
assert lines[7]["dataBase64"] == "/w==" and "data" not in lines[7], lines[7]
def say(number, **answer):
    print(json.dumps({"recordId": lines[number]["recordId"], **answer}))
say(7, dataBase64="/w==")
say(6, result="nonsense")
say(5)
say(4, parts=[{"data": "x"}, {"dataBase64": "eQ=="}])
say(3, result="ProcessingFailed")
say(2, result="Dropped")
print(json.dumps({"recordId": "nobody", "data": ""}))
say(1, data={"no": "text"})
sys.stdout.write(json.dumps({"recordId": lines[0]["recordId"], "data": "one"}) + "\n\n"
                 + json.dumps({"recordId": lines[0]["recordId"], "data": "two"}) + "\n")
sys.stdout.flush()
sys.stdin.readline()
"#;
    let mut batch = items(&["0", "1", "2", "3", "4", "5", "6"]);
    batch.push(item("7", vec![0xff]));
    let verdicts = python(program, LONG, 0).apply(&batch).await.expect("answers");
    // Both answers to the first come at once, so that the second is seen before the batch is done.
    let first = shown(&verdicts[0]);
    assert!(["one", "Lambda.DuplicatedRecordId x1"].contains(&first.as_str()), "{first}");
    assert_eq!(
        shown_all(&verdicts[1..]),
        [
            "Lambda.FunctionError x1",
            "dropped",
            "Lambda.ProcessingFailedStatus x1",
            "x | y",
            "Lambda.InvalidReturnFormat x1",
            "Lambda.FunctionError x1",
            "\u{fffd}",
        ]
    );
}

#[tokio::test]
async fn a_command_that_dies_in_the_middle_is_given_the_rest_again() {
    // Two answers in a life, then the end.
    let program = r#"
import json, sys
for number, line in enumerate(sys.stdin):
    if number == 2:
        sys.exit(3)
    print(json.dumps({"recordId": json.loads(line)["recordId"], "data": str(number)}))
"#;
    let verdicts = python(program, LONG, 1).apply(&items(&["a", "b", "c", "d", "e"])).await;
    assert_eq!(shown_all(&verdicts.expect("answers")), ["0", "1", "0", "1", "0"]);
}

#[tokio::test]
async fn what_a_command_never_answers_fails_after_the_retries() {
    let answering = |what: &str| {
        format!(
            r#"
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    if record["data"] == "bad":
        {what}
    print(json.dumps({{"recordId": record["recordId"], "data": record["data"]}}))
"#
        )
    };
    for (what, timeout, code) in [
        ("sys.exit(1)", LONG, "Lambda.FunctionError x2"),
        ("print('hello')", LONG, "Lambda.JsonProcessingException x2"),
        ("continue", Duration::from_millis(700), "Lambda.MissingRecordId x2"),
    ] {
        let hook = python(&answering(what), timeout, 1);
        let verdicts = hook.apply(&items(&["good", "bad"])).await.expect("answers");
        assert_eq!(shown_all(&verdicts), ["good", code], "{what}");
        // And the next batch finds a process that works.
        let verdicts = hook.apply(&items(&["good"])).await.expect("answers");
        assert_eq!(shown_all(&verdicts), ["good"], "{what}");
    }
}

#[tokio::test]
async fn a_record_over_which_a_command_dies_fails_alone() {
    let program = r#"
import json, sys
for line in sys.stdin:
    record = json.loads(line)
    number = json.loads(record["data"])["n"]
    print(json.dumps({"recordId": record["recordId"], "data": str(number)}))
"#;
    let data: Vec<_> = (0..40)
        .map(|number| match number {
            17 | 18 | 39 => "garbage".to_owned(),
            _ => format!("{{\"n\":{number}}}"),
        })
        .collect();
    let data: Vec<_> = data.iter().map(String::as_str).collect();
    let verdicts = python(program, LONG, 1).apply(&items(&data)).await.expect("answers");
    for (number, verdict) in verdicts.iter().enumerate() {
        match verdict {
            Verdict::Failed(failure) => {
                assert_eq!(data[number], "garbage", "{failure:?}");
                assert_eq!(failure.code, "Lambda.FunctionError");
                assert!(failure.message.contains("JSONDecodeError"), "{failure:?}");
            }
            _ => assert_eq!(shown(verdict), number.to_string()),
        }
    }
}

#[tokio::test]
async fn a_command_sees_no_environment_but_its_own_and_is_ended_with_what_it_started() {
    let program = r#"
import json, os, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
for line in sys.stdin:
    print(json.dumps({"recordId": "0", "data": json.dumps([sorted(os.environ), child.pid])}))
"#;
    let hook = python(program, LONG, 0);
    let verdicts = hook.apply(&items(&["a"])).await.expect("an answer");
    let said: Value = serde_json::from_str(&shown(&verdicts[0])).expect("JSON");
    let names = said[0].as_array().expect("names");
    assert!(names.contains(&json!("HOOK_KEY")));
    // The test itself was started with some of these.
    let foreign = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("CARGO"));
    assert!(!names.iter().any(foreign), "{names:?}");
    assert!(!format!("{hook:?}").contains("hunter2"));
    drop(hook);
    let process = format!("/proc/{}/cmdline", said[1]);
    // A dead process that nobody waited for has no command line.
    while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_that_never_worked_is_away_and_needs_a_person() {
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    for words in [&["/nowhere/hook"][..], &["python3", "-c", "no python"], &["true"]] {
        let settings = CommandSettings {
            argv: argv(words),
            environment: environment(),
            patience: patience(2),
        };
        let away = Command::new(name(), settings).apply(&items(&["a"])).await.expect_err("away");
        assert_eq!(away.action, Action::Alarm);
        assert!(away.reason.contains(words[0]), "{away}");
    }
}

#[tokio::test]
async fn a_step_that_is_dropped_takes_its_process_along() {
    let program = "import os, json, sys\n\
        for line in sys.stdin:\n print(json.dumps({'recordId': '0', 'data': str(os.getpid())}))";
    let hook = python(program, LONG, 0);
    let verdicts = hook.apply(&items(&["a"])).await.expect("an answer");
    let process = format!("/proc/{}", shown(&verdicts[0]));
    assert!(std::fs::exists(&process).expect("a look"));
    drop(hook);
    for _ in 0..1_000 {
        if !std::fs::exists(&process).expect("a look") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{process} is still there");
}
