//! Who may write, and what nobody may see: secrets, references to them, tokens.

use super::*;

#[test]
fn secrets_are_never_printed() {
    let shown = format!("{:?}", load_good(FULL));
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    for literal in ["hunter2", "${env:hunter2", "[hunter2]", "x${env:ACME_SECRET}hunter2"] {
        let text = FULL.replace("\"${env:ACME_SECRET}\"", &format!("'{literal}'"));
        let shown = faults_of(&text).to_string();
        assert!(!shown.contains("hunter2") && shown.contains("${env:NAME}"), "{shown}");
    }
}

#[test]
fn references_say_why_they_give_nothing() {
    for (reference, part) in [
        ("${env:NOWHERE}", "the environment variable NOWHERE is not set"),
        ("${env:EMPTY}", "the environment variable EMPTY is empty"),
        ("${file:/nowhere}", "the file /nowhere cannot be read"),
        ("${file:/run/secrets/empty}", "the file /run/secrets/empty is empty"),
        ("${vault:x}", "write ${env:NAME} or ${file:/path}"),
        ("${env:A B}", "write ${env:NAME} or ${file:/path}"),
    ] {
        let faults = faults_of(&FULL.replace("${env:LAKE_KEY}", reference));
        let [fault] = faults.as_slice() else { panic!("{faults}") };
        assert!(fault.message().contains(part), "{fault}");
        assert_eq!(fault.place().path, "stores.lake.access_key");
    }
}

/// A file whose producers have these tokens and are served with TLS.
fn with_tokens(tokens: &[&str]) -> String {
    let identities = tokens.iter().enumerate().map(|(number, token)| {
        let secret = "secret: \"${env:ACME_SECRET}\"";
        format!("  - {{access_key: A{number}, {secret}, token: \"${{env:{token}}}\"}}\n")
    });
    let identities: String = identities.collect();
    let server = "server: {tls: {certificate: tls/chain.pem, key: tls/key.pem}}";
    format!("{server}\nidentities:\n{identities}delivery_streams:\n  s: {{schema: {{table: t}}}}\n")
}

#[test]
fn tokens_and_certificates_reach_their_settings() {
    let config = load_good(&with_tokens(&["ACME_TOKEN"]));
    let token = config.identities[0].token.as_ref().map(Secret::expose);
    assert_eq!(token, Some("acme-token-hunter2"));
    let tls = config.server.tls.expect("it is set");
    assert_eq!(
        (tls.certificate.as_path(), tls.certificate_place.line),
        (Path::new("tls/chain.pem"), 1)
    );
    assert_eq!(
        (tls.key.as_path(), tls.key_place.path.as_str()),
        (Path::new("tls/key.pem"), "server.tls.key")
    );
    let plain = load_good(FULL);
    assert!(plain.server.tls.is_none() && plain.identities[0].token.is_none());
}

#[test]
fn a_token_alone_is_enough_to_write_and_so_are_an_access_key_and_its_secret() {
    let both = with_tokens(&["ACME_TOKEN"]);
    let proof = "access_key: A0, secret: \"${env:ACME_SECRET}\"";
    let token = ", token: \"${env:ACME_TOKEN}\"";
    for (text, signs, shows) in [
        (both.clone(), true, true),
        (both.replace(&format!("{proof}, "), ""), false, true),
        (both.replace(token, ""), true, false),
    ] {
        let config = load_good(&text);
        let [identity] = config.identities.as_slice() else { panic!("one identity") };
        assert_eq!((identity.credentials.is_some(), identity.token.is_some()), (signs, shows));
    }
}

#[test]
fn tokens_that_are_of_no_use_are_faults_and_are_not_shown() {
    let tokens = ["ACME_TOKEN", "ACME_TOKEN", "ACME_SECRET", "SPACED_TOKEN", "EMPTY"];
    let faults = faults_of(&with_tokens(&tokens)).to_string();
    let found: Vec<&str> = faults.lines().collect();
    let expected = [
        "identities[1].token: another identity has this token",
        "identities[2].token: a token has 16 to 1024 visible ASCII characters",
        "identities[3].token: a token has 16 to 1024 visible ASCII characters",
        "identities[4].token: the environment variable EMPTY is empty",
    ];
    for text in expected {
        assert!(found.iter().any(|line| line.contains(text)), "{text} in\n{faults}");
    }
    assert_eq!(found.len(), expected.len(), "{faults}");
    assert!(!faults.contains("hunter2"));
}
