# The one public origin: CloudFront before a load balancer, names, certificates, a rate limit.
#
# Everything a browser needs comes from one domain, so no page needs CORS. Playback is `/p/{token}/…`: the right is in the
# path, the gateway checks it, and CloudFront keeps what the gateway says may be kept, for `edge_cache_seconds` at most,
# since so long a deleted asset may still be seen. `/v1/realtime` and `/v1/events` go straight to the notifier.
#
# `out/*` is the bucket itself by Origin Access Control for whoever holds signed cookies, kept as long and no longer. The
# gateway issues none: it is there for an application of one's own that signs them, and only if `media_public_key` is
# given. Nothing is invalidated: docs/adr/0022-deleted-at-the-edge.md says why.

terraform {
  required_providers {
    aws = {
      source                = "hashicorp/aws"
      version               = "~> 5.100"
      configuration_aliases = [aws, aws.global]
    }
  }
}

locals {
  # Managed policies by their constant ids.
  caching_disabled = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
  all_viewer       = "216adef6-5c7f-47e4-b989-5492eafa07d3"
  signed           = var.media_public_key == null ? [] : [var.media_public_key]
  origin_name      = "origin.${var.domain}"
  proofs = {
    for name in [var.domain, local.origin_name] :
    name => [for proof in aws_acm_certificate.origin.domain_validation_options : proof if proof.domain_name == name][0]
  }
}

data "aws_ec2_managed_prefix_list" "cloudfront" {
  name = "com.amazonaws.global.cloudfront.origin-facing"
}

# --- the load balancer ---

resource "aws_security_group" "balancer" {
  name        = "${var.prefix}-balancer"
  description = "CloudFront to the load balancer"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  security_group_id = aws_security_group.balancer.id
  description       = "CloudFront, nobody else"
  prefix_list_id    = data.aws_ec2_managed_prefix_list.cloudfront.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = var.ports
  security_group_id            = aws_security_group.balancer.id
  description                  = each.key
  referenced_security_group_id = var.task_security_group
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "tasks" {
  for_each                     = var.ports
  security_group_id            = var.task_security_group
  description                  = "${each.key}, from the load balancer"
  referenced_security_group_id = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_lb" "balancer" {
  name                       = var.prefix
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = var.public_subnets
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  # WebSockets are pinged every 25 s.
  idle_timeout = 120
}

resource "aws_lb_target_group" "gateway" {
  name                 = "${var.prefix}-gateway"
  vpc_id               = var.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.ports.gateway
  deregistration_delay = 100
  health_check {
    # The public port has no health of its own.
    port                = var.ports.health
    path                = "/readyz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_target_group" "notifier" {
  name                 = "${var.prefix}-notifier"
  vpc_id               = var.vpc_id
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.ports.notifier
  deregistration_delay = 30
  health_check {
    path                = "/readyz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.balancer.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate_validation.origin.certificate_arn
  # Whoever comes by another distribution than ours has not been through our rate limit.
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "Not this way."
      status_code  = "403"
    }
  }
}

resource "aws_lb_listener_rule" "realtime" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 10
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.notifier.arn
  }
  condition {
    path_pattern {
      values = ["/v1/realtime", "/v1/events"]
    }
  }
  condition {
    http_header {
      http_header_name = "x-reelfleet-origin"
      values           = [var.origin_secret]
    }
  }
}

resource "aws_lb_listener_rule" "gateway" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 20
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
  condition {
    http_header {
      http_header_name = "x-reelfleet-origin"
      values           = [var.origin_secret]
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.prefix}-gateway-errors"
  alarm_description   = "The gateway or the notifier fails requests. Look at /${var.prefix}/gateway in the logs"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  dimensions          = { LoadBalancer = aws_lb.balancer.arn_suffix }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

# --- names and certificates ---

# CloudFront reads certificates in us-east-1 only.
resource "aws_acm_certificate" "public" {
  provider          = aws.global
  domain_name       = var.domain
  validation_method = "DNS"
  lifecycle {
    create_before_destroy = true
  }
}

# CloudFront asks the load balancer for the name that the viewer asked for, and wants a certificate of it.
resource "aws_acm_certificate" "origin" {
  domain_name               = local.origin_name
  subject_alternative_names = [var.domain]
  validation_method         = "DNS"
  lifecycle {
    create_before_destroy = true
  }
}

# The proof of a name is the same for every certificate of it.
resource "aws_route53_record" "proof" {
  for_each        = local.proofs
  zone_id         = var.zone_id
  name            = each.value.resource_record_name
  type            = each.value.resource_record_type
  records         = [each.value.resource_record_value]
  ttl             = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "public" {
  provider                = aws.global
  certificate_arn         = aws_acm_certificate.public.arn
  validation_record_fqdns = [aws_route53_record.proof[var.domain].fqdn]
}

resource "aws_acm_certificate_validation" "origin" {
  certificate_arn         = aws_acm_certificate.origin.arn
  validation_record_fqdns = [for proof in aws_route53_record.proof : proof.fqdn]
}

resource "aws_route53_record" "public" {
  for_each = toset(["A", "AAAA"])
  zone_id  = var.zone_id
  name     = var.domain
  type     = each.value
  alias {
    name                   = aws_cloudfront_distribution.public.domain_name
    zone_id                = aws_cloudfront_distribution.public.hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "origin" {
  zone_id = var.zone_id
  name    = local.origin_name
  type    = "A"
  alias {
    name                   = aws_lb.balancer.dns_name
    zone_id                = aws_lb.balancer.zone_id
    evaluate_target_health = false
  }
}
