# Plan and apply without an account. What the state then says is judged by scripts/terraform/policy.py.

mock_provider "aws" {
  source = "../../tests/mocks"
}

mock_provider "aws" {
  alias  = "global"
  source = "../../tests/mocks"
}

variables {
  region             = "eu-central-1"
  domain             = "media.example.com"
  zone_id            = "Z0EXAMPLE"
  image_tag          = "0.1.0"
  alert_emails       = ["ops@example.com"]
  monthly_budget_usd = 200
  origin_secret      = "0123456789abcdef0123456789abcdef"
  mail_from          = "reelfleet@example.com"
  oidc               = { issuer = "https://accounts.example.com", client_id = "reelfleet" }
  event_emails = {
    "desk@example.com"  = { types = ["approval.requested.v1"] }
    "press@example.com" = { types = ["asset.failed.v1", "asset.ready.v1"], tenants = ["press"] }
  }
  original_days      = 90
  quarantine_readers = ["arn:aws:iam::123456789012:role/inquiry"]
  otlp_endpoint      = "http://collector.internal:4318"
  extra_environment  = { gateway = { REELFLEET_PLAYBACK_TTL_S = "3600" } }
  media_public_key   = "-----BEGIN PUBLIC KEY-----\nmocked\n-----END PUBLIC KEY-----\n"
}

run "whole" {
  command = apply

  assert {
    condition     = length(module.fleet.services) == 8
    error_message = "Eight services: ${join(", ", keys(module.fleet.services))}"
  }
  assert {
    condition     = length(module.fleet.queues) == length(jsondecode(file("../../../schema/topology.json")).queues)
    error_message = "Not the queues of the topology: ${join(", ", keys(module.fleet.queues))}"
  }
  assert {
    condition     = module.fleet.environment.REELFLEET_UPLOADS == "reelfleet-uploads-123456789012=default"
    error_message = "Not the form that the fleet reads: ${module.fleet.environment.REELFLEET_UPLOADS}"
  }
  assert {
    condition     = strcontains(module.fleet.migrate_command, "--task-definition reelfleet-migrate ")
    error_message = "Nobody could make the schema: ${module.fleet.migrate_command}"
  }
  assert {
    condition     = module.fleet.url == "https://media.example.com"
    error_message = "Not the domain: ${module.fleet.url}"
  }
}
