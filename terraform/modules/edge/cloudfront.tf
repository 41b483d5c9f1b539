resource "aws_cloudfront_cache_policy" "playback" {
  name        = "${var.prefix}-playback"
  comment     = "As the origin says, for ${var.edge_cache_seconds} s at most"
  min_ttl     = 0
  default_ttl = 0
  max_ttl     = var.edge_cache_seconds
  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_gzip   = true
    enable_accept_encoding_brotli = true
    cookies_config {
      cookie_behavior = "none"
    }
    headers_config {
      header_behavior = "none"
    }
    query_strings_config {
      query_string_behavior = "all"
    }
  }
}

resource "aws_cloudfront_origin_access_control" "outputs" {
  name                              = "${var.prefix}-outputs"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_public_key" "media" {
  for_each    = { for key in local.signed : "media" => key }
  name        = "${var.prefix}-media"
  encoded_key = each.value
}

resource "aws_cloudfront_key_group" "media" {
  for_each = aws_cloudfront_public_key.media
  name     = "${var.prefix}-media"
  items    = [each.value.id]
}

resource "aws_cloudfront_distribution" "public" {
  enabled         = true
  is_ipv6_enabled = true
  comment         = var.prefix
  aliases         = [var.domain]
  price_class     = var.price_class
  web_acl_id      = aws_wafv2_web_acl.public.arn
  http_version    = "http2and3"

  origin {
    origin_id   = "balancer"
    domain_name = local.origin_name
    custom_header {
      name  = "x-reelfleet-origin"
      value = var.origin_secret
    }
    custom_origin_config {
      http_port                = 80
      https_port               = 443
      origin_protocol_policy   = "https-only"
      origin_ssl_protocols     = ["TLSv1.2"]
      origin_read_timeout      = 60
      origin_keepalive_timeout = 60
    }
  }

  origin {
    origin_id                = "outputs"
    domain_name              = var.outputs_domain
    origin_access_control_id = aws_cloudfront_origin_access_control.outputs.id
  }

  # API, pages, realtime.
  default_cache_behavior {
    target_origin_id         = "balancer"
    viewer_protocol_policy   = "redirect-to-https"
    allowed_methods          = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"]
    cached_methods           = ["GET", "HEAD"]
    cache_policy_id          = local.caching_disabled
    origin_request_policy_id = local.all_viewer
    compress                 = true
  }

  # Playback, and the app's own files: no cookie, no header of the viewer decides on the answer.
  dynamic "ordered_cache_behavior" {
    for_each = ["/p/*", "/assets/*"]
    content {
      path_pattern           = ordered_cache_behavior.value
      target_origin_id       = "balancer"
      viewer_protocol_policy = "redirect-to-https"
      allowed_methods        = ["GET", "HEAD", "OPTIONS"]
      cached_methods         = ["GET", "HEAD"]
      cache_policy_id        = aws_cloudfront_cache_policy.playback.id
      compress               = true
    }
  }

  # The bucket itself. What has expired is asked for again by its ETag: bytes that are still there don't travel twice.
  dynamic "ordered_cache_behavior" {
    for_each = aws_cloudfront_key_group.media
    content {
      path_pattern           = "/out/*"
      target_origin_id       = "outputs"
      viewer_protocol_policy = "redirect-to-https"
      allowed_methods        = ["GET", "HEAD"]
      cached_methods         = ["GET", "HEAD"]
      cache_policy_id        = aws_cloudfront_cache_policy.playback.id
      trusted_key_groups     = [ordered_cache_behavior.value.id]
      compress               = true
    }
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn      = aws_acm_certificate_validation.public.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}

# What one address may ask; the gateway's own limits are per key and user.
resource "aws_wafv2_web_acl" "public" {
  provider    = aws.global
  name        = var.prefix
  description = "Rate limit"
  scope       = "CLOUDFRONT"

  default_action {
    allow {}
  }

  rule {
    name     = "rate"
    priority = 1
    action {
      block {
        custom_response {
          response_code = 429
        }
      }
    }
    statement {
      rate_based_statement {
        limit              = var.rate_limit
        aggregate_key_type = "IP"
      }
    }
    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.prefix}-rate"
      sampled_requests_enabled   = true
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = var.prefix
    sampled_requests_enabled   = true
  }
}

output "url" {
  description = "REELFLEET_PUBLIC_URL."
  value       = "https://${var.domain}"
}

output "distribution_id" {
  description = "For `aws cloudfront create-invalidation`."
  value       = aws_cloudfront_distribution.public.id
}

output "target_groups" {
  description = "Where the load balancer finds gateway and notifier. Known only once it does."
  value       = { gateway = aws_lb_target_group.gateway.arn, notifier = aws_lb_target_group.notifier.arn }
  depends_on  = [aws_lb_listener_rule.gateway, aws_lb_listener_rule.realtime]
}

# The policy of the outputs bucket, so that only this distribution reads it.
output "outputs_statements" {
  description = "Statements for the outputs bucket's policy; empty without signed cookies."
  value = [for key in local.signed : {
    Sid       = "CloudFront"
    Effect    = "Allow"
    Principal = { Service = "cloudfront.amazonaws.com" }
    Action    = "s3:GetObject"
    Resource  = "arn:aws:s3:::${split(".s3.", var.outputs_domain)[0]}/out/*"
    Condition = { StringEquals = { "aws:SourceArn" = aws_cloudfront_distribution.public.arn } }
  }]
}
