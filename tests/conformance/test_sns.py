"""SNS: what the fleet, an operator's CLI and Terraform rely on."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError


def name():
    return f"conformance-{uuid.uuid4().hex[:16]}"


@pytest.fixture
def topic(sns):
    arn = sns.create_topic(Name=name())["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


@pytest.fixture
def subscribed(sns, sqs, topic, queue):
    """Subscribes the test's queue; gives a function that takes all that arrived."""
    url, arn = queue

    def subscribe(**attributes):
        values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}
        subscription = sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=values, ReturnSubscriptionArn=True
        )["SubscriptionArn"]

        def take():
            found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
            return found.get("Messages", [])

        take.subscription = subscription
        return take

    return subscribe


def attribute(value):
    if isinstance(value, bytes):
        return {"DataType": "Binary", "BinaryValue": value}
    if isinstance(value, list):
        return {"DataType": "String.Array", "StringValue": json.dumps(value)}
    if isinstance(value, str):
        return {"DataType": "String", "StringValue": value}
    return {"DataType": "Number", "StringValue": str(value)}


def attributes(**values):
    return {key: attribute(value) for key, value in values.items()}


def test_envelope(sns, topic, subscribed):
    take = subscribed()
    text = 'Zoë & "<b>" 🎬'
    sent = sns.publish(TopicArn=topic, Subject="A subject", Message=text, MessageAttributes=attributes(kind="x", n=3))
    [message] = take()
    envelope = json.loads(message["Body"])
    assert envelope["Type"] == "Notification" and envelope["TopicArn"] == topic
    assert (envelope["Message"], envelope["Subject"], envelope["MessageId"]) == (text, "A subject", sent["MessageId"])
    assert envelope["MessageAttributes"] == {"kind": {"Type": "String", "Value": "x"}, "n": {"Type": "Number", "Value": "3"}}
    assert envelope["Timestamp"].endswith("Z") and envelope["SignatureVersion"]
    assert {"Signature", "SigningCertURL", "UnsubscribeURL"} <= set(envelope)
    assert "MessageAttributes" not in message, "the queue's own attributes come with raw delivery only"
    sns.publish(TopicArn=topic, Message="bare")
    [message] = take()
    assert not {"Subject", "MessageAttributes"} & set(json.loads(message["Body"]))


def test_raw_delivery_with_attributes(sns, topic, subscribed):
    take = subscribed(RawMessageDelivery="true")
    sent = attributes(kind="probe", cost=12)
    sns.publish(TopicArn=topic, Message="as it is", MessageAttributes=sent)
    [message] = take()
    assert message["Body"] == "as it is" and message["MessageAttributes"] == sent


@pytest.mark.moto_is_wrong("ReceiveMessage: 500")
def test_raw_delivery_of_bytes(sns, topic, subscribed):
    take = subscribed(RawMessageDelivery="true")
    sent = attributes(blob=b"\x00\xff")
    sns.publish(TopicArn=topic, Message="x", MessageAttributes=sent)
    assert [message["MessageAttributes"] for message in take()] == [sent]


FILTERS = {
    "exact and prefix": (
        {"type": ["asset.ready", {"prefix": "job."}]},
        [attributes(type="asset.ready"), attributes(type="job.started")],
        [attributes(type="asset.failed"), attributes(other="asset.ready"), {}],
    ),
    "anything-but": (
        {"type": [{"anything-but": ["a", "b"]}]},
        [attributes(type="c")],
        [attributes(type="a"), {}],
    ),
    "anything-but prefix": (
        {"type": [{"anything-but": {"prefix": "job."}}]},
        [attributes(type="asset.ready")],
        [attributes(type="job.started")],
    ),
    "numeric range": (
        {"n": [{"numeric": [">=", 10, "<", 20]}]},
        [attributes(n=10), attributes(n=19.5)],
        [attributes(n=9), attributes(n=20)],
    ),
    "exists": ({"a": [{"exists": True}], "b": [{"exists": False}]}, [attributes(a="x")], [attributes(a="x", b="y"), {}]),
    "suffix and ignore-case": (
        {"file": [{"suffix": ".mp4"}, {"equals-ignore-case": "poster"}]},
        [attributes(file="a.mp4"), attributes(file="POSTER")],
        [attributes(file="a.mov")],
    ),
    "array attribute": (
        {"tags": ["hd"]},
        [attributes(tags=["sd", "hd"])],
        [attributes(tags=["sd"])],
    ),
    "or": (
        {"$or": [{"a": ["1"]}, {"b": ["1"]}]},
        [attributes(a="1"), attributes(b="1", a="2")],
        [attributes(a="2", b="2"), {}],
    ),
}


@pytest.mark.parametrize("form", FILTERS)
def test_filter(sns, topic, subscribed, form):
    policy, passing, stopped = FILTERS[form]
    take = subscribed(FilterPolicy=policy, RawMessageDelivery="true")
    for n, values in enumerate(stopped):
        sns.publish(TopicArn=topic, Message=f"stopped {n}", MessageAttributes=values)
    for n, values in enumerate(passing):
        sns.publish(TopicArn=topic, Message=f"passed {n}", MessageAttributes=values)
    assert sorted(message["Body"] for message in take()) == [f"passed {n}" for n in range(len(passing))]


def test_filter_by_nested_body(sns, topic, subscribed):
    take = subscribed(FilterPolicy={"detail": {"state": ["ready"]}}, FilterPolicyScope="MessageBody", RawMessageDelivery="true")
    passing = json.dumps({"detail": {"state": "ready", "n": 1}})
    for body in [json.dumps({"detail": {"state": "failed"}}), json.dumps({"state": "ready"}), "no json", passing]:
        sns.publish(TopicArn=topic, Message=body)
    assert [message["Body"] for message in take()] == [passing]


def test_a_filter_that_is_not_understood_is_refused(sns, topic, queue, refuses):
    for policy in ['{"a":"x"}', '{"a":[{"nothing":"x"}]}']:
        subscribe = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue[1], "Attributes": {"FilterPolicy": policy}}
        refuses("InvalidParameter", sns.subscribe, **subscribe)


def test_publish_batch(sns, topic, subscribed, refuses):
    take = subscribed(RawMessageDelivery="true")
    entries = [{"Id": f"e{n}", "Message": f"b{n}", "MessageAttributes": attributes(n=n)} for n in range(3)]
    sent = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [entry["Id"] for entry in sent["Successful"]] == ["e0", "e1", "e2"] and not sent["Failed"]
    assert {m["Body"]: m["MessageAttributes"]["n"]["StringValue"] for m in take()} == {"b0": "0", "b1": "1", "b2": "2"}
    entries = [{"Id": str(n), "Message": "x"} for n in range(11)]
    refuses("TooManyEntriesInBatchRequest", sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=entries)
    twice = [{"Id": "a", "Message": "x"}] * 2
    refuses("BatchEntryIdsNotDistinct", sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=twice)


@pytest.mark.moto_is_wrong("refuses the whole batch for one bad entry")
def test_a_bad_entry_does_not_fail_its_neighbours(sns, topic, subscribed):
    take = subscribed(RawMessageDelivery="true")
    entries = [{"Id": "good", "Message": "x"}, {"Id": "bad", "Message": "x", "Subject": "two\nlines"}]
    sent = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [entry["Id"] for entry in sent["Successful"]] == ["good"]
    assert [(entry["Id"], entry["Code"]) for entry in sent["Failed"]] == [("bad", "InvalidParameter")]
    assert len(take()) == 1


def test_message_structure_json(sns, topic, subscribed):
    take = subscribed(RawMessageDelivery="true")
    texts = json.dumps({"default": "for all", "sqs": "for queues"})
    sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")
    assert [message["Body"] for message in take()] == ["for queues"]


def test_subscriptions(sns, topic, subscribed, queue, refuses):
    take = subscribed(RawMessageDelivery="true")
    arn = take.subscription
    for listed in (sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"], all_subscriptions(sns)):
        [found] = [subscription for subscription in listed if subscription["SubscriptionArn"] == arn]
        assert (found["Protocol"], found["Endpoint"], found["TopicArn"]) == ("sqs", queue[1], topic)
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert found["RawMessageDelivery"] == "true" and found["PendingConfirmation"] == "false"
    policy = json.dumps({"type": ["x"]})
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=policy)
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="false")
    found = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert json.loads(found["FilterPolicy"]) == {"type": ["x"]} and found["RawMessageDelivery"] == "false"
    change = {"SubscriptionArn": arn, "AttributeName": "FilterPolicy", "AttributeValue": '{"type":"x"}'}
    refuses("InvalidParameter", sns.set_subscription_attributes, **change)
    sns.publish(TopicArn=topic, Message="stopped")
    assert take() == []
    sns.unsubscribe(SubscriptionArn=arn)
    refuses("NotFound", sns.get_subscription_attributes, SubscriptionArn=arn)
    sns.publish(TopicArn=topic, Message="nobody listens", MessageAttributes=attributes(type="x"))
    assert take() == []


def all_subscriptions(sns):
    pages = sns.get_paginator("list_subscriptions").paginate()
    return [subscription for page in pages for subscription in page["Subscriptions"]]


def test_subscribing_again(sns, topic, subscribed):
    first = subscribed(RawMessageDelivery="true").subscription
    assert subscribed(RawMessageDelivery="true").subscription == first


@pytest.mark.moto_is_wrong("keeps the old attributes silently")
def test_subscribing_again_with_other_attributes_is_refused(subscribed):
    subscribed(RawMessageDelivery="true")
    with pytest.raises(ClientError, match="different attributes"):
        subscribed(RawMessageDelivery="false")


@pytest.mark.moto_is_wrong("takes any protocol, and FIFO topics, which ours refuses on purpose")
def test_what_is_not_offered_is_refused(sns, topic, queue, refuses):
    for protocol, endpoint in [("email", "a@example.org"), ("https", "https://example.org/hook"), ("sms", "+491")]:
        error = refuses("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
        assert protocol in error["Error"]["Message"]
    refuses("InvalidParameter", sns.subscribe, TopicArn=topic, Protocol="sqs", Endpoint="no-arn")
    refuses("InvalidParameter", sns.confirm_subscription, TopicArn=topic, Token="0" * 64)
    refuses("InvalidParameter", sns.create_topic, Name=name() + ".fifo", Attributes={"FifoTopic": "true"})
    refuses("InvalidParameter", sns.publish, TopicArn=topic, Message="")
    refuses("InvalidParameter", sns.publish, TopicArn=topic, Message='{"sqs":"x"}', MessageStructure="json")
    refuses("InvalidParameter", sns.publish, TopicArn=topic, Message="x" * 262_145)


def test_not_found(sns, topic, queue, refuses):
    gone = topic + "-gone"
    error = refuses("NotFound", sns.publish, TopicArn=gone, Message="x")
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 404
    refuses("NotFound", sns.get_topic_attributes, TopicArn=gone)
    refuses("NotFound", sns.subscribe, TopicArn=gone, Protocol="sqs", Endpoint=queue[1])
    with pytest.raises(sns.exceptions.NotFoundException):
        sns.get_topic_attributes(TopicArn=gone)


def test_topics(sns, topic):
    assert sns.create_topic(Name=topic.rsplit(":", 1)[1])["TopicArn"] == topic
    listed = [found["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for found in page["Topics"]]
    assert topic in listed
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Uploads & more")
    found = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (found["TopicArn"], found["DisplayName"]) == (topic, "Uploads & more")
    assert json.loads(found["Policy"])["Statement"] and found["SubscriptionsConfirmed"] == "0"
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    assert json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]) == json.loads(policy)
    sns.delete_topic(TopicArn=topic)
    sns.delete_topic(TopicArn=topic)


def test_tags(sns, topic, refuses):
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sns.untag_resource(ResourceArn=topic, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "b", "Value": "2"}]
    refuses("ResourceNotFound", sns.list_tags_for_resource, ResourceArn=topic + "-gone")


@pytest.mark.moto_is_wrong("drops what a subscriber cannot take, redrive policy or not")
def test_redrive_policy_of_a_subscription(sns, sqs, topic, queue, subscribed):
    url, arn = queue
    lost = sqs.create_queue(QueueName=name())["QueueUrl"]
    lost_arn = sqs.get_queue_attributes(QueueUrl=lost, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn})
    values = {"RedrivePolicy": redrive, "RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=lost_arn, Attributes=values)
    sqs.delete_queue(QueueUrl=lost)
    sns.publish(TopicArn=topic, Message="kept")
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=url)["Messages"]] == ["kept"]


def test_the_tenant_reaches_the_fair_queue(sns, sqs, topic, queue, subscribed):
    subscribed(RawMessageDelivery="true")
    sns.publish(TopicArn=topic, Message="x", MessageGroupId="tenant")
    [message] = sqs.receive_message(QueueUrl=queue[0], MessageSystemAttributeNames=["MessageGroupId"])["Messages"]
    assert message["Attributes"] == {"MessageGroupId": "tenant"}
