# Who does what, with which environment, and may do what: least privilege for each.

locals {
  environment = {
    AWS_REGION                   = var.region
    REELFLEET_ACCOUNT            = local.account
    REELFLEET_PREFIX             = var.prefix
    REELFLEET_UPLOADS            = "${local.buckets.uploads}=${var.tenant}"
    REELFLEET_OUTPUTS_BUCKET     = local.buckets.outputs
    REELFLEET_PUBLIC_URL         = "https://${var.domain}"
    REELFLEET_DB_RESOURCE_ARN    = module.database.arn
    REELFLEET_DB_SECRET_ARN      = module.database.secret_arn
    REELFLEET_DB_NAME            = module.database.name
    REELFLEET_HEALTH_LISTEN      = "0.0.0.0:${local.ports.health}"
    REELFLEET_LOG_FORMAT         = "json"
    REELFLEET_VISIBILITY_SECONDS = "90"
    REELFLEET_GRACE_SECONDS      = "100"
    REELFLEET_APPROVAL           = var.approval
    REELFLEET_REVIEWERS          = join(",", var.reviewers)
  }
  # Whom an operator may scale, and between which bounds `auto` is (docs/scaling.md).
  scaled = {
    for name in keys(local.scaling.pools) : name => {
      service = "${var.prefix}-${name}", min = var.sizes[name].min, max = var.sizes[name].max
    }
  }
  operating = {
    REELFLEET_ECS_CLUSTER  = aws_ecs_cluster.fleet.name
    REELFLEET_ECS_SERVICES = jsonencode(local.scaled)
  }
  tracing = var.otlp_endpoint == "" ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = var.otlp_endpoint }

  queue = { for name, queue in module.backbone.queues : name => queue.arn }
  dlq   = { for name, queue in module.backbone.queues : name => queue.dead_letter_arn }
  # The queues that tasks are sent to; the others hear topics.
  task_queues = [
    for name, queue in module.backbone.topology.queues : local.queue[name]
    if queue.worker != null && !contains(keys(module.backbone.topology.subscriptions), name)
  ]
  uploads   = module.backbone.bucket_arns.uploads
  outputs   = module.backbone.bucket_arns.outputs
  doorbells = "arn:${local.partition}:sqs:${var.region}:${local.account}:${var.prefix}-notifier-*"

  # Rows, and what each process relays from its outbox: tasks, events, mails to subscribers.
  everyone = [
    {
      Sid    = "Rows"
      Effect = "Allow"
      Action = [
        "rds-data:BatchExecuteStatement", "rds-data:BeginTransaction", "rds-data:CommitTransaction",
        "rds-data:ExecuteStatement", "rds-data:RollbackTransaction",
      ]
      Resource = module.database.arn
    },
    {
      Sid      = "RowsSecret"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = module.database.secret_arn
    },
    {
      Sid      = "Key"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = module.key.arn
    },
    {
      Sid      = "RelayTasks"
      Effect   = "Allow"
      Action   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
      Resource = local.task_queues
    },
    {
      Sid      = "RelayEvents"
      Effect   = "Allow"
      Action   = ["sns:Publish"]
      Resource = [module.backbone.topic_arns["events"], module.backbone.topic_arns["mails"]]
    },
  ]

  # Takes messages of its queues, and gives up what is hopeless.
  takes = {
    for worker in distinct(compact([for queue in module.backbone.topology.queues : queue.worker])) : worker => [
      {
        Sid      = "Take"
        Effect   = "Allow"
        Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = [for name, queue in module.backbone.topology.queues : local.queue[name] if queue.worker == worker]
      },
      {
        Sid      = "GiveUp"
        Effect   = "Allow"
        Action   = ["sqs:GetQueueUrl", "sqs:SendMessage"]
        Resource = [for name, queue in module.backbone.topology.queues : local.dlq[name] if queue.worker == worker]
      },
    ]
  }

  # Reads sources. Without the right to list, what is gone would look like what is forbidden.
  read_sources = [
    {
      Sid      = "ReadSources"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = "${local.uploads}/*"
    },
    {
      Sid      = "ListSources"
      Effect   = "Allow"
      Action   = ["s3:ListBucket", "s3:ListBucketVersions"]
      Resource = local.uploads
    },
  ]
  write_outputs = [
    {
      Sid      = "WriteOutputs"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = "${local.outputs}/*"
    },
    {
      Sid      = "ListOutputs"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = local.outputs
    },
  ]
  look_at_queues = {
    Sid      = "LookAtQueues"
    Effect   = "Allow"
    Action   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    Resource = concat(values(local.queue), values(local.dlq))
  }
  # ECS answers task protection by the task's own role.
  protect = [{
    Sid       = "Protect"
    Effect    = "Allow"
    Action    = ["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]
    Resource  = "arn:${local.partition}:ecs:${var.region}:${local.account}:task/${var.prefix}/*"
    Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.fleet.arn } }
  }]

  plain = { environment = {}, secrets = {}, ports = [], target_group_arn = null }
  workers = {
    intake = merge(local.plain, {
      image   = "media"
      command = ["worker", "intake"]
      statements = concat(local.takes["intake"], local.read_sources, local.protect, [
        {
          # What lands under the key of an upload that was called off.
          Sid      = "DeleteStray"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
          Resource = "${local.uploads}/*"
        },
      ])
    })
    transcoder = merge(local.plain, {
      image      = "media"
      command    = ["worker", "transcoder"]
      statements = concat(local.takes["transcoder"], local.read_sources, local.write_outputs, local.protect)
    })
    # Campaigns: a transcoder of its own, so that no upload waits behind them.
    backfill = merge(local.plain, {
      image      = "media"
      command    = ["worker", "transcoder", "--backfill"]
      statements = concat(local.takes["backfill"], local.read_sources, local.write_outputs, local.protect)
    })
    thumbnailer = merge(local.plain, {
      image      = "media"
      command    = ["worker", "thumbnailer"]
      statements = concat(local.takes["thumbnailer"], local.read_sources, local.write_outputs, local.protect)
    })
    metadata = merge(local.plain, {
      image   = "fleet"
      command = ["worker", "metadata"]
      statements = concat(local.takes["metadata"], local.read_sources, local.write_outputs, local.protect, [
        local.look_at_queues,
        {
          Sid      = "AnnounceLost"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = local.queue["intake"]
        },
      ])
    })
    notifier = merge(local.plain, {
      image            = "fleet"
      command          = ["worker", "notifier"]
      ports            = [local.ports.notifier]
      target_group_arn = module.edge.target_groups.notifier
      environment = {
        REELFLEET_NOTIFIER_LISTEN = "0.0.0.0:${local.ports.notifier}"
        REELFLEET_MAIL_FROM       = var.mail_from
        REELFLEET_TOPIC_MAILS     = tostring(length(var.event_emails) > 0)
      }
      secrets = merge(
        { REELFLEET_WEBHOOK_SECRET = aws_secretsmanager_secret.secret["webhook"].arn },
        var.mail_from == "" ? {} : { REELFLEET_SMTP_URL = aws_secretsmanager_secret.secret["smtp"].arn },
      )
      statements = [
        {
          Sid    = "Doorbell"
          Effect = "Allow"
          Action = [
            "sqs:CreateQueue", "sqs:DeleteMessage", "sqs:DeleteQueue", "sqs:GetQueueUrl", "sqs:ReceiveMessage",
            "sqs:SetQueueAttributes", "sqs:TagQueue",
          ]
          Resource = local.doorbells
        },
        {
          Sid      = "HearEvents"
          Effect   = "Allow"
          Action   = ["sns:Subscribe"]
          Resource = module.backbone.topic_arns["events"]
          Condition = {
            StringEquals = { "sns:Protocol" = "sqs" }
            StringLike   = { "sns:Endpoint" = local.doorbells }
          }
        },
        local.unsubscribe,
      ]
    })
    janitor = merge(local.plain, {
      image   = "fleet"
      command = ["worker", "janitor"]
      statements = [
        local.look_at_queues,
        {
          Sid      = "LookAtBuckets"
          Effect   = "Allow"
          Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListBucketVersions"]
          Resource = [local.uploads, local.outputs]
        },
        {
          Sid    = "Delete"
          Effect = "Allow"
          Action = [
            "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject",
            "s3:GetObjectVersion", "s3:ListMultipartUploadParts",
          ]
          Resource = ["${local.uploads}/*", "${local.outputs}/*"]
        },
        {
          Sid      = "Quarantine"
          Effect   = "Allow"
          Action   = ["s3:PutObjectTagging", "s3:PutObjectVersionTagging"]
          Resource = "${local.uploads}/*"
        },
        {
          Sid      = "StaleDoorbells"
          Effect   = "Allow"
          Action   = ["sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:ListQueueTags"]
          Resource = local.doorbells
        },
        {
          Sid      = "Subscriptions"
          Effect   = "Allow"
          Action   = ["sns:ListSubscriptionsByTopic"]
          Resource = module.backbone.topic_arns["events"]
        },
        local.unsubscribe,
        {
          # IAM knows no resource for it.
          Sid       = "FindDoorbells"
          Effect    = "Allow"
          Action    = ["sqs:ListQueues"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
        },
      ]
    })
    gateway = merge(local.plain, {
      image            = "fleet"
      command          = ["gateway"]
      ports            = [local.ports.gateway, local.ports.health]
      target_group_arn = module.edge.target_groups.gateway
      environment = merge(
        {
          REELFLEET_GATEWAY_LISTEN = "0.0.0.0:${local.ports.gateway}"
          # CloudFront and the load balancer each add to X-Forwarded-For.
          REELFLEET_TRUSTED_PROXIES = "2"
          REELFLEET_SIGN_UP         = var.sign_up
        },
        local.operating,
        var.oidc == null ? {} : {
          REELFLEET_OIDC_ISSUER    = var.oidc.issuer
          REELFLEET_OIDC_CLIENT_ID = var.oidc.client_id
        },
      )
      secrets = merge(
        {
          REELFLEET_PLAYBACK_SECRET = aws_secretsmanager_secret.secret["playback"].arn
          REELFLEET_SESSION_SECRET  = aws_secretsmanager_secret.secret["session"].arn
          REELFLEET_WEBHOOK_SECRET  = aws_secretsmanager_secret.secret["webhook"].arn
        },
        var.oidc == null ? {} : { REELFLEET_OIDC_CLIENT_SECRET = aws_secretsmanager_secret.secret["oidc"].arn },
      )
      statements = concat(local.read_sources, local.write_outputs, [
        local.look_at_queues,
        {
          # Operators look through dead letters, throw them away, and send them back to where they came from.
          Sid      = "DeadLetters"
          Effect   = "Allow"
          Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]
          Resource = values(local.dlq)
        },
        {
          Sid      = "SendBack"
          Effect   = "Allow"
          Action   = ["sqs:SendMessage"]
          Resource = values(local.queue)
        },
        {
          Sid      = "Uploads"
          Effect   = "Allow"
          Action   = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"]
          Resource = "${local.uploads}/*"
        },
        {
          Sid      = "LookAtUploads"
          Effect   = "Allow"
          Action   = ["s3:ListBucketMultipartUploads"]
          Resource = local.uploads
        },
      ])
    })
  }

  unsubscribe = {
    # IAM knows no resource for it.
    Sid       = "Unsubscribe"
    Effect    = "Allow"
    Action    = ["sns:Unsubscribe"]
    Resource  = "*"
    Condition = { StringEquals = { "aws:RequestedRegion" = var.region } }
  }
}
