//! Clients of a fleet: the API as a program would call it, and plain S3, SQS and SNS.

use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_rdsdata::types::Field;
use aws_sdk_s3::primitives::ByteStream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Every client that a test needs.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Plain S3.
    pub s3: aws_sdk_s3::Client,
    /// Plain SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// Plain SNS.
    pub sns: aws_sdk_sns::Client,
    /// The RDS Data API.
    pub rds: aws_sdk_rdsdata::Client,
    /// Plain HTTP.
    pub http: reqwest::Client,
    /// `http://host:port` of the gateway.
    pub gateway: String,
    /// `http://host:port` of the endpoint.
    pub endpoint: String,
    /// The first API key.
    pub api_key: String,
    /// Where uploads land.
    pub uploads: String,
    /// Where outputs lie.
    pub outputs: String,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing in {value}")).to_owned()
}

macro_rules! client {
    ($sdk:ident, $ready:expr $(, $more:ident($arg:expr))*) => {{
        let credentials =
            Credentials::new(text($ready, "access_key_id"), text($ready, "secret_access_key"), None, None, "ready-file");
        let config = $sdk::Config::builder()
            .behavior_version($sdk::config::BehaviorVersion::latest())
            .region($sdk::config::Region::new(text($ready, "region")))
            .credentials_provider(credentials)
            .endpoint_url(text($ready, "aws_endpoint"))
            $(.$more($arg))*
            .build();
        $sdk::Client::from_conf(config)
    }};
}

impl Clients {
    /// From the ready file.
    pub fn new(ready: &Value) -> Self {
        Self {
            s3: client!(aws_sdk_s3, ready, force_path_style(true)),
            sqs: client!(aws_sdk_sqs, ready),
            sns: client!(aws_sdk_sns, ready),
            rds: client!(aws_sdk_rdsdata, ready),
            http: reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
            gateway: text(ready, "gateway"),
            endpoint: text(ready, "aws_endpoint"),
            api_key: text(ready, "api_key"),
            uploads: text(ready, "uploads_bucket"),
            outputs: text(ready, "outputs_bucket"),
        }
    }

    /// Calls the API with the key.
    pub async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.gateway)).bearer_auth(&self.api_key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Uploads a file through the API and says which asset it becomes.
    pub async fn upload(&self, path: &Path) -> String {
        let bytes = std::fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let ask = json!({ "name": name, "size": bytes.len(), "type": "application/octet-stream" });
        let (status, upload) = self.api(Method::POST, "/v1/uploads", Some(ask)).await;
        assert!(status.is_success(), "{status} {upload}");
        let id = text(&upload, "id");
        let part_size = upload["part_size"].as_u64().unwrap_or(bytes.len() as u64).max(1);
        for (index, part) in bytes.chunks(usize::try_from(part_size).unwrap()).enumerate() {
            let ask = json!({ "parts": [{ "n": index + 1, "len": part.len() }] });
            let (status, signed) = self.api(Method::POST, &format!("/v1/uploads/{id}/parts"), Some(ask)).await;
            assert!(status.is_success(), "{status} {signed}");
            let signed = signed.get("parts").unwrap_or(&signed)[0].clone();
            let mut put = self.http.put(text(&signed, "url")).body(part.to_vec());
            for (name, value) in signed["headers"].as_object().into_iter().flatten() {
                if !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("content-length") {
                    put = put.header(name, value.as_str().unwrap());
                }
            }
            let answer = put.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
        let (status, done) = self.api(Method::POST, &format!("/v1/uploads/{id}/complete"), Some(json!({}))).await;
        assert!(status.is_success(), "{status} {done}");
        text(&upload, "asset")
    }

    /// Drops a file into the bucket with a plain S3 client.
    pub async fn drop_file(&self, key: &str, path: &Path) {
        let body = ByteStream::from_path(path).await.unwrap();
        self.s3.put_object().bucket(&self.uploads).key(key).body(body).send().await.unwrap();
    }

    /// The detail of an asset.
    pub async fn asset(&self, id: &str) -> Value {
        let (status, asset) = self.api(Method::GET, &format!("/v1/assets/{id}"), None).await;
        assert_eq!(status, StatusCode::OK, "{asset}");
        asset
    }

    /// Rows of the catalog, every column as text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let ask = self.rds.execute_statement().database("reelfleet").sql(sql);
        let ask = ask
            .resource_arn("arn:aws:rds:us-east-1:000000000000:cluster:reelfleet")
            .secret_arn("arn:aws:secretsmanager:us-east-1:000000000000:secret:reelfleet");
        let rows = ask.send().await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).records.unwrap_or_default();
        let shown = |field: &Field| match field {
            Field::StringValue(text) => text.clone(),
            Field::LongValue(number) => number.to_string(),
            Field::DoubleValue(number) => number.to_string(),
            Field::BooleanValue(yes) => yes.to_string(),
            _ => String::new(),
        };
        rows.iter().map(|row| row.iter().map(shown).collect()).collect()
    }

    /// What the endpoint has counted: `get_object_bytes` by bucket and key, `requests`.
    pub async fn stats(&self) -> Value {
        self.http.get(format!("{}/_reelfleet/stats", self.endpoint)).send().await.unwrap().json().await.unwrap()
    }

    /// Keys of the outputs bucket under a prefix.
    pub async fn outputs(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut token = None;
        loop {
            let list = self.s3.list_objects_v2().bucket(&self.outputs).prefix(prefix).set_continuation_token(token);
            let page = list.send().await.unwrap();
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                return keys;
            }
        }
    }
}
