//! `reelfleet doctor`: well is well, and each thing that is broken is named with its cure.

use std::path::Path;
use std::process::Command;

use aws_sdk_s3::types::{CorsConfiguration, CorsRule, NotificationConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use reelfleet_tests::clients::Clients;
use reelfleet_tests::{Faulty, Fleet, Options, executable};
use serde_json::Value;

/// Runs it; answers its findings and whether it was content.
fn look(folder: Option<&Path>, args: &[&str], env: &[(&str, &str)]) -> (Vec<Value>, bool) {
    let mut command = Command::new(executable());
    command.arg("doctor").arg("--json").args(args);
    if let Some(folder) = folder {
        command.arg("--data").arg(folder);
    }
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"] {
        command.env_remove(name);
    }
    let done = command.env("AWS_EC2_METADATA_DISABLED", "true").envs(env.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let findings = serde_json::from_str(&text);
    (
        findings.unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&done.stderr))),
        done.status.success(),
    )
}

/// What fails must be this, with a cure.
#[track_caller]
fn names(found: &(Vec<Value>, bool), code: &str) {
    let failing: Vec<&Value> = found.0.iter().filter(|finding| finding["health"] == "fail").collect();
    let codes: Vec<&str> = failing.iter().filter_map(|finding| finding["code"].as_str()).collect();
    assert!(!found.1 && codes == [code], "{code}: {failing:#?}");
    assert!(failing.iter().all(|finding| finding["cure"].as_str().is_some_and(|cure| cure.len() > 10)), "{failing:#?}");
}

/// An endpoint whose clock is off, and which says the same to every request: `body`, with `status`.
async fn off(by_seconds: i64, status: u16, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("{by_seconds} seconds")]);
    let date = date.arg("+%a, %d %b %Y %H:%M:%S GMT").output().unwrap();
    let date = String::from_utf8(date.stdout).unwrap().trim().to_owned();
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let answer = move || std::future::ready((status, [("date", date.clone())], body));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    url
}

async fn queue(clients: &Clients, name: &str) -> String {
    clients.sqs.get_queue_url().queue_name(name).send().await.unwrap().queue_url.unwrap()
}

async fn set(clients: &Clients, name: &str, attribute: QueueAttributeName, value: &str) {
    let set = clients.sqs.set_queue_attributes().queue_url(queue(clients, name).await);
    set.attributes(attribute, value).send().await.unwrap();
}

/// A clock that is an hour off, as SQS tells it, as S3 does, and as nobody tells it but the answer's own date.
async fn clocks(env: &[(&str, &str); 3]) {
    let expired = r#"{"__type": "com.amazonaws.sqs#InvalidSignatureException", "message": "Signature expired: 20260101T000000Z is now earlier than 20260101T005500Z (20260101T011000Z - 15 min.)"}"#;
    let early = r#"{"__type": "com.amazonaws.sqs#SignatureDoesNotMatch", "message": "Signature not yet current: 20260101T010000Z is still later than 20260101T001500Z"}"#;
    let skewed = r#"{"__type": "com.amazonaws.sqs#RequestTimeTooSkewed", "message": "The difference between the request time and the current time is too large."}"#;
    for (by_seconds, body, which) in
        [(3_600, expired, "behind"), (-3_600, early, "ahead of"), (3_600, skewed, "behind")]
    {
        let endpoint = off(by_seconds, 403, body).await;
        let found = look(None, &[], &[("AWS_ENDPOINT_URL", &endpoint), env[1], env[2]]);
        names(&found, "clock");
        assert!(found.0.iter().any(|finding| finding["said"].as_str().unwrap().contains(which)), "{found:#?}");
    }
    let endpoint = off(3_600, 200, "{}").await;
    let (findings, _) = look(None, &[], &[("AWS_ENDPOINT_URL", &endpoint), env[1], env[2]]);
    let clock = findings.iter().find(|finding| finding["code"] == "clock").unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!((&clock["health"], clock["cure"].as_str().unwrap().contains("chrony")), (&"fail".into(), true));
    assert!(clock["said"].as_str().unwrap().contains("behind that of http://127.0.0.1"), "{clock}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misconfiguration_is_named_with_its_cure() {
    let fleet = Fleet::start(Options::default()).await;
    let (clients, folder) = (&fleet.clients, fleet.folder());
    let (folder, account) = (folder.as_path(), "arn:aws:sns:us-east-1:000000000000");
    let ready = |name: &str| fleet.ready[name].as_str().unwrap().to_owned();
    let (endpoint, key, secret) = (ready("aws_endpoint"), ready("access_key_id"), ready("secret_access_key"));
    let env = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
    ];
    let provision = || {
        let made = Command::new(executable()).arg("provision").envs(env).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };

    // Well, and a film goes through.
    let (findings, content) = look(Some(folder), &["--self-test"], &[]);
    assert!(content, "{findings:#?}");
    assert!(
        findings.iter().any(|finding| finding["code"] == "self_test" && finding["health"] == "ok"),
        "{findings:#?}"
    );

    // What the machine and the environment may lack.
    names(&look(None, &[], &[("REELFLEET_OUTPUTS_BUCKET", "reelfleet-uploads")]), "config");
    let other = [env[0], env[1], ("AWS_SECRET_ACCESS_KEY", "of somebody else")];
    names(&look(None, &[], &other), "credentials");
    names(&look(None, &[], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), env[1], env[2]]), "endpoint");
    names(&look(None, &[], &[("AWS_ENDPOINT_URL", &off(0, 503, "{}").await), env[1], env[2]]), "endpoint");
    clocks(&env).await;
    names(&look(Some(folder), &[], &[("REELFLEET_DECODER", "/nowhere/reelfleet-decoder")]), "decoder");
    let lacking = tokio::task::spawn_blocking(Faulty::new).await.unwrap();
    lacking.without("libx264");
    let without = [("REELFLEET_DECODER", lacking.program())];
    let without = look(Some(folder), &[], &[(without[0].0, &without[0].1)]);
    names(&without, "codecs");
    let said = without.0.iter().find(|finding| finding["code"] == "codecs").unwrap()["said"].as_str().unwrap();
    assert!(said.contains("without libx264"), "{said}");
    names(&look(Some(folder), &[], &[("REELFLEET_LOCAL_RESERVE_MIB", "999999999")]), "disk");
    let here = [env[0], env[1], env[2], ("REELFLEET_PUBLIC_URL", "http://127.0.0.1:1")];
    names(&look(None, &[], &here), "gateway");
    names(&look(Some(&folder.join("nowhere")), &[], &[]), "not_running");

    // Queues.
    set(clients, "reelfleet-probe", QueueAttributeName::RedrivePolicy, "").await;
    names(&look(Some(folder), &[], &[]), "queue_redrive");
    provision();
    set(clients, "reelfleet-probe-dlq", QueueAttributeName::MessageRetentionPeriod, "60").await;
    names(&look(Some(folder), &[], &[]), "dlq_retention");
    provision();
    set(clients, "reelfleet-intake", QueueAttributeName::Policy, "").await;
    names(&look(Some(folder), &[], &[]), "queue_policy");
    provision();
    let gone = queue(clients, "reelfleet-backfill-dlq").await;
    clients.sqs.delete_queue().queue_url(gone).send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "queue_missing");
    provision();

    // Topics and subscriptions.
    let events = format!("{account}:reelfleet-events");
    let heard = clients.sns.list_subscriptions_by_topic().topic_arn(&events).send().await.unwrap();
    let heard =
        heard.subscriptions().iter().find(|one| one.endpoint().is_some_and(|to| to.ends_with("reelfleet-metadata")));
    let heard = heard.unwrap().subscription_arn().unwrap().to_owned();
    let envelope = clients.sns.set_subscription_attributes().subscription_arn(&heard);
    envelope.attribute_name("RawMessageDelivery").attribute_value("false").send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "subscription_raw");
    clients.sns.unsubscribe().subscription_arn(&heard).send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "subscription_missing");
    provision();
    let policy = clients.sns.set_topic_attributes().topic_arn(format!("{account}:reelfleet-uploads"));
    let nobody = r#"{"Version":"2012-10-17","Statement":[]}"#;
    policy.attribute_name("Policy").attribute_value(nobody).send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "topic_policy");
    provision();

    // Buckets.
    let silent = NotificationConfiguration::builder().build();
    let put = clients.s3.put_bucket_notification_configuration().bucket(&clients.uploads);
    put.notification_configuration(silent).send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "bucket_notification");
    provision();
    let reading = CorsRule::builder().allowed_methods("GET").allowed_origins("*").build().unwrap();
    let reading = CorsConfiguration::builder().cors_rules(reading).build().unwrap();
    clients.s3.put_bucket_cors().bucket(&clients.uploads).cors_configuration(reading).send().await.unwrap();
    names(&look(Some(folder), &[], &[]), "bucket_cors");
    provision();
    let elsewhere = [("REELFLEET_OUTPUTS_BUCKET", "reelfleet-elsewhere")];
    names(&look(Some(folder), &[], &elsewhere), "bucket_missing");

    // The schema, last: whoever starts now would not.
    clients.rows("UPDATE schema_migration SET version = -version").await;
    names(&look(Some(folder), &[], &[]), "schema");
    clients.rows("UPDATE schema_migration SET version = -version").await;
    let (findings, content) = look(Some(folder), &[], &[]);
    assert!(content, "{findings:#?}");
}
