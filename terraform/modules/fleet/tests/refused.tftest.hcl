# What can't work is refused before anything is made.

mock_provider "aws" {
  source = "../../tests/mocks"
}

mock_provider "aws" {
  alias  = "global"
  source = "../../tests/mocks"
}

variables {
  region             = "eu-central-1"
  prefix             = "reelfleet"
  domain             = "media.example.com"
  zone_id            = "Z0EXAMPLE"
  image_tag          = "0.1.0"
  alert_emails       = ["ops@example.com"]
  monthly_budget_usd = 200
  origin_secret      = "0123456789abcdef0123456789abcdef"
  network_profile    = "public"
  database           = { min_capacity = 0, max_capacity = 4, readers = 0, backup_days = 7 }
  sizes = {
    gateway     = { cpu = 256, memory = 512, min = 1, max = 2 }
    notifier    = { cpu = 256, memory = 512, min = 1, max = 1 }
    metadata    = { cpu = 256, memory = 512, min = 1, max = 1 }
    janitor     = { cpu = 256, memory = 512, min = 1, max = 1 }
    intake      = { cpu = 512, memory = 1024, min = 1, max = 4 }
    transcoder  = { cpu = 2048, memory = 4096, min = 0, max = 10 }
    backfill    = { cpu = 2048, memory = 4096, min = 0, max = 4 }
    thumbnailer = { cpu = 1024, memory = 2048, min = 0, max = 4 }
  }
}

run "a_prefix_that_a_load_balancer_can_not_have" {
  command = plan
  variables {
    prefix = "Reelfleet"
  }
  expect_failures = [var.prefix]
}

run "an_image_that_changes" {
  command = plan
  variables {
    image_tag = "latest"
  }
  expect_failures = [var.image_tag]
}

run "a_gateway_that_nobody_wakes" {
  command = plan
  variables {
    sizes = {
      gateway     = { cpu = 256, memory = 512, min = 0, max = 2 }
      notifier    = { cpu = 256, memory = 512, min = 1, max = 1 }
      metadata    = { cpu = 256, memory = 512, min = 1, max = 1 }
      janitor     = { cpu = 256, memory = 512, min = 1, max = 1 }
      intake      = { cpu = 512, memory = 1024, min = 1, max = 4 }
      transcoder  = { cpu = 2048, memory = 4096, min = 0, max = 10 }
      backfill    = { cpu = 2048, memory = 4096, min = 0, max = 4 }
      thumbnailer = { cpu = 1024, memory = 2048, min = 0, max = 4 }
    }
  }
  expect_failures = [var.sizes]
}

run "a_collector_that_is_no_url" {
  command = plan
  variables {
    otlp_endpoint = "collector.internal:4317"
  }
  expect_failures = [var.otlp_endpoint]
}
