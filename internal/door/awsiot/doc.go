// Package awsiot is the AWS contract: the shadow topics over MQTT and the HTTP data
// plane of AWS IoT, with the documents and errors of the real service.
//
// [Door] is the whole of it. It takes the requests that devices publish
// ([Door.Allow], [Door.Publish]), turns accepted changes into messages
// ([Door.Stage]) and serves the HTTP operations ([Door.Handler]). [Topic] is the
// grammar of the shadow topics.
//
// Two things to know before changing it. An accepted document, a delta and the
// documents message are staged by [Door.Stage] inside the commit, whoever asked
// for the change; this door's request path publishes only rejections and the
// answers of a get. And nothing is built for a topic nobody subscribes to: the
// path of a report without listeners allocates nothing here.
package awsiot
