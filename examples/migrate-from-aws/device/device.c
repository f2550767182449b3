/*
 * A thermostat: it takes the setpoint from the delta of its shadow and reports what it did.
 *
 *   gcc -Wall -Wextra -O2 -o thermostat device.c -lmosquitto -lcjson
 *   ./thermostat [--careless] [--reports N] THING
 *
 * The endpoint is the business of the environment:
 *   IOT_ENDPOINT, IOT_PORT          host and port of the broker (127.0.0.1, 1883)
 *   IOT_CA, IOT_CERT, IOT_KEY       PEM files; with IOT_CA the connection is TLS
 *
 * --careless answers every delta, whatever is in it, as much firmware does.
 * --reports N ends the program after N reports that the broker has acknowledged.
 */
#include <cjson/cJSON.h>
#include <mosquitto.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QOS = 1, KEEPALIVE_SECONDS = 60, RECONNECT_SECONDS = 1, TOPIC_BYTES = 256 };

/* Keys of desired that tell about the change and are given back as they came. */
static const char *const notes[] = {"updatedBy", "updatedAt"};

struct device {
	const char *thing;
	bool careless;
	long reports_max; /* 0: no end */
	long sent, acknowledged;
	int question; /* id of the request for the shadow while it waits for its PUBACK */
	bool ended;
	double setpoint;
};

static void topic_of(char *out, const struct device *d, const char *what) {
	snprintf(out, TOPIC_BYTES, "$aws/things/%s/shadow/%s", d->thing, what);
}

/* report sends what the thermostat does now, and the notes of the change it follows. */
static void report(struct mosquitto *client, struct device *d, const cJSON *delta) {
	if (d->reports_max && d->sent == d->reports_max)
		return;
	cJSON *message = cJSON_CreateObject();
	cJSON *reported = cJSON_AddObjectToObject(cJSON_AddObjectToObject(message, "state"), "reported");
	if (d->careless || cJSON_GetObjectItemCaseSensitive(delta, "tempSetpoint")) {
		cJSON_AddNumberToObject(reported, "tempSetpoint", d->setpoint);
		cJSON_AddStringToObject(reported, "status", "applied");
	}
	for (size_t i = 0; !d->careless && i < sizeof notes / sizeof *notes; i++) {
		const cJSON *note = cJSON_GetObjectItemCaseSensitive(delta, notes[i]);
		if (note)
			cJSON_AddItemToObject(reported, notes[i], cJSON_Duplicate(note, true));
	}
	char *text = cJSON_PrintUnformatted(message);
	char topic[TOPIC_BYTES];
	topic_of(topic, d, "update");
	int rc = text ? mosquitto_publish(client, NULL, topic, (int)strlen(text), text, QOS, false) : MOSQ_ERR_NOMEM;
	if (rc == MOSQ_ERR_SUCCESS) {
		d->sent++;
		printf("report %s\n", text);
	} else {
		fprintf(stderr, "report not sent: %s\n", mosquitto_strerror(rc));
	}
	cJSON_free(text);
	cJSON_Delete(message);
}

/* knows says whether there is something in the delta that the thermostat acts on or gives back. */
static bool knows(const cJSON *delta) {
	if (cJSON_GetObjectItemCaseSensitive(delta, "tempSetpoint"))
		return true;
	for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
		if (cJSON_GetObjectItemCaseSensitive(delta, notes[i]))
			return true;
	return false;
}

static void apply(struct mosquitto *client, struct device *d, const cJSON *delta) {
	const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(delta, "tempSetpoint");
	if (cJSON_IsNumber(wanted)) { /* absent means unchanged, not zero */
		d->setpoint = wanted->valuedouble;
		printf("setpoint %g\n", d->setpoint);
	}
	if (d->careless || knows(delta))
		report(client, d, delta);
}

static void on_message(struct mosquitto *client, void *context, const struct mosquitto_message *m) {
	struct device *d = context;
	char rejected[TOPIC_BYTES], got[TOPIC_BYTES];
	topic_of(rejected, d, "update/rejected");
	topic_of(got, d, "get/accepted");
	if (strcmp(m->topic, rejected) == 0) {
		fprintf(stderr, "rejected: %.*s\n", m->payloadlen, (const char *)m->payload);
		return;
	}
	cJSON *message = cJSON_ParseWithLength(m->payload, (size_t)m->payloadlen);
	const cJSON *delta = cJSON_GetObjectItemCaseSensitive(message, "state");
	if (strcmp(m->topic, got) == 0) /* the whole shadow: its delta is one level below */
		delta = cJSON_GetObjectItemCaseSensitive(delta, "delta");
	if (cJSON_IsObject(delta))
		apply(client, d, delta);
	cJSON_Delete(message);
}

/* What was missed while the device was away is in the shadow, so it asks for it each time. */
static void on_subscribe(struct mosquitto *client, void *context, int id, int count, const int *granted) {
	(void)id, (void)count, (void)granted;
	struct device *d = context;
	char topic[TOPIC_BYTES];
	topic_of(topic, d, "get");
	mosquitto_publish(client, &d->question, topic, 0, NULL, QOS, false);
}

static void on_connect(struct mosquitto *client, void *context, int code) {
	if (code != 0) {
		fprintf(stderr, "connection refused: %s\n", mosquitto_connack_string(code));
		return;
	}
	static const char *const answers[] = {"update/delta", "update/rejected", "get/accepted"};
	char topics[3][TOPIC_BYTES];
	char *list[3];
	for (int i = 0; i < 3; i++) {
		topic_of(topics[i], context, answers[i]);
		list[i] = topics[i];
	}
	mosquitto_subscribe_multiple(client, NULL, 3, list, QOS, 0, NULL);
}

/* A message at QoS 1 has been acknowledged: an update is on disk then. */
static void on_publish(struct mosquitto *client, void *context, int id) {
	(void)client;
	struct device *d = context;
	if (id == d->question) {
		d->question = 0;
		return;
	}
	d->ended = ++d->acknowledged == d->reports_max;
}

/* serve works until the reports are done; after a break it connects again. */
static int serve(struct mosquitto *client, const struct device *d) {
	while (!d->ended) {
		int rc = mosquitto_loop(client, 1000, 1);
		if (rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_NOMEM || rc == MOSQ_ERR_NOT_SUPPORTED)
			return rc;
		if (rc != MOSQ_ERR_SUCCESS) {
			sleep(RECONNECT_SECONDS);
			mosquitto_reconnect(client);
		}
	}
	return mosquitto_disconnect(client);
}

static struct mosquitto *open_client(struct device *d) {
	struct mosquitto *client = mosquitto_new(d->thing, false, d); /* its session stays while it is away */
	if (!client)
		return NULL;
	mosquitto_connect_callback_set(client, on_connect);
	mosquitto_subscribe_callback_set(client, on_subscribe);
	mosquitto_message_callback_set(client, on_message);
	mosquitto_publish_callback_set(client, on_publish);
	const char *ca = getenv("IOT_CA");
	if (ca && mosquitto_tls_set(client, ca, NULL, getenv("IOT_CERT"), getenv("IOT_KEY"), NULL) != MOSQ_ERR_SUCCESS) {
		fprintf(stderr, "IOT_CA, IOT_CERT or IOT_KEY cannot be used\n");
		mosquitto_destroy(client);
		return NULL;
	}
	return client;
}

static int usage(void) {
	fprintf(stderr, "usage: thermostat [--careless] [--reports N] THING\n");
	return 2;
}

int main(int argc, char **argv) {
	struct device d = {0};
	int i = 1;
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--careless") == 0)
			d.careless = true;
		else if (strcmp(argv[i], "--reports") == 0 && i + 1 < argc && (d.reports_max = atol(argv[++i])) > 0)
			continue;
		else
			return usage();
	}
	if (i + 1 != argc || strlen(argv[i]) > 128)
		return usage();
	d.thing = argv[i];
	setvbuf(stdout, NULL, _IOLBF, 0);

	const char *host = getenv("IOT_ENDPOINT"), *port = getenv("IOT_PORT");
	mosquitto_lib_init();
	struct mosquitto *client = open_client(&d);
	if (!client)
		return 1;
	int rc = mosquitto_connect(client, host ? host : "127.0.0.1", port ? atoi(port) : 1883, KEEPALIVE_SECONDS);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = serve(client, &d);
	if (rc != MOSQ_ERR_SUCCESS)
		fprintf(stderr, "%s\n", mosquitto_strerror(rc));
	mosquitto_destroy(client);
	mosquitto_lib_cleanup();
	return rc == MOSQ_ERR_SUCCESS ? 0 : 1;
}
