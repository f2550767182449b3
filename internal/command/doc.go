// Package command leads commands through their life: a request to a device is queued,
// delivered, accepted, and ends as done, failed, rejected, expired or cancelled.
//
// Each step is one event of the twin, committed with the new record of the command
// (twin.CommandKey) and only then told to anybody. The [Service] is the only writer of
// these records. It holds the commands that have not ended in memory, reads them from
// the records when it opens, and lets the steps of one command wait for each other, so
// that the second of two answers, or a cancel, is judged on what the first one made
// durable. Two commands with one id cannot be: the record of an id is only ever made
// where there is none.
//
// A command is sent to the device when it is connected and subscribed, in the order
// in which commands were queued, and again when it returns, until it has acknowledged
// the message: then the command is delivered and is not sent again. The MQTT session
// keeps no copy, so what is cancelled, expired or answered is never sent any more.
package command
