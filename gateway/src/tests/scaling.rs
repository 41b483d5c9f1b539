//! Operators scale: what is asked of Application Auto Scaling, and what stands in rows.

use super::*;

const SERVICES: &[&str] = &[
    "--ecs-cluster",
    "reelfleet",
    "--ecs-services",
    r#"{"transcoder": {"service": "reelfleet-transcoder", "min": 0, "max": 10}, "intake": {"service": "reelfleet-intake"}}"#,
];

fn operators() -> World {
    World { scopes: "ops".into(), config: SERVICES, aws: |_| (200, json!({})), ..World::default() }
}

/// The statements that write.
fn written(gateway: &Gateway) -> Vec<String> {
    gateway.sql().into_iter().filter(|sql| sql.starts_with("INSERT INTO")).collect()
}

#[tokio::test]
async fn on_aws_a_number_is_both_bounds_and_auto_gives_them_back() {
    let gateway = Gateway::with(operators()).await;
    for (pool, workers, service, bounds) in [
        ("transcoder", json!(4), "reelfleet-transcoder", (4, 4)),
        ("transcoder", json!(0), "reelfleet-transcoder", (0, 0)),
        ("transcoder", Value::Null, "reelfleet-transcoder", (0, 10)),
        // Without bounds of its own: those of schema/scaling.json.
        ("intake", Value::Null, "reelfleet-intake", (1, 50)),
    ] {
        let (status, _) = gateway.call("PUT", &format!("/v1/ops/pools/{pool}"), json!({ "workers": workers })).await;
        assert_eq!(status, 204);
        let (target, call) = gateway.calls.lock().unwrap().pop().unwrap();
        assert_eq!(target, "AnyScaleFrontendService.RegisterScalableTarget");
        let wanted = json!({
            "ServiceNamespace": "ecs",
            "ScalableDimension": "ecs:service:DesiredCount",
            "ResourceId": format!("service/reelfleet/{service}"),
            "MinCapacity": bounds.0,
            "MaxCapacity": bounds.1,
        });
        assert_eq!(call, wanted);
    }
    let statements = gateway.statements.lock().unwrap();
    let audit = statements.iter().find(|call| call["sql"].as_str().unwrap().contains("INTO audit")).unwrap();
    let text = audit.to_string();
    assert!(text.contains(r#""scale""#) && text.contains(r#"{\"workers\":4}"#) && text.contains("me"), "{text}");
    assert_eq!(gateway.calls.lock().unwrap().len(), 0, "one call each");
}

#[tokio::test]
async fn what_aws_does_not_take_is_in_the_audit_and_not_in_force() {
    fn denied() -> (u16, Value) {
        (400, json!({ "__type": "AccessDeniedException", "message": "no right" }))
    }
    let aws = |target: &str| match target {
        "AnyScaleFrontendService.RegisterScalableTarget" => denied(),
        other => panic!("{other}"),
    };
    let gateway = Gateway::with(World { aws, ..operators() }).await;
    let (status, problem) = gateway.call("PUT", "/v1/ops/pools/transcoder", json!({ "workers": 4 })).await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &"unavailable".into()), "{problem}");
    let written = written(&gateway);
    assert!(written.iter().any(|sql| sql.contains("INTO audit")), "{written:?}");
    assert!(!written.iter().any(|sql| sql.contains("desired_workers")), "{written:?}");

    let (status, problem) = gateway.call("PUT", "/v1/ops/pools/transcoder", json!({ "workers": 11 })).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(status == 400 && detail.contains("at most 10"), "more than the service may have: {detail}");
    assert_eq!(gateway.calls.lock().unwrap().len(), 1, "nobody was asked");
}

#[tokio::test]
async fn where_nobody_follows_the_operator_hears_it() {
    fn queue(host: &str) -> (u16, Value) {
        (200, json!({ "QueueUrl": format!("{host}/123456789012/reelfleet-transcode") }))
    }
    let aws = |_: &str| queue("https://sqs.eu-central-1.amazonaws.com");
    let gateway = Gateway::with(World { config: &[], aws, ..operators() }).await;
    let (status, problem) = gateway.call("PUT", "/v1/ops/pools/transcoder", json!({ "workers": 4 })).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &"scaled_elsewhere".into()));
    assert!(problem["detail"].as_str().unwrap().contains("REELFLEET_ECS_SERVICES"), "{problem}");
    assert_eq!(written(&gateway), Vec::<String>::new());

    let gateway = Gateway::with(World { config: &[], aws: |_| queue("http://127.0.0.1:4566"), ..operators() }).await;
    let (status, _) = gateway.call("PUT", "/v1/ops/pools/transcoder", json!({ "workers": 4 })).await;
    assert!(status == 204 && written(&gateway).iter().any(|sql| sql.contains("desired_workers")), "`up` follows");
    assert_eq!(gateway.call("PUT", "/v1/ops/pools/gateway", json!({ "workers": 4 })).await.0, 404);
}
