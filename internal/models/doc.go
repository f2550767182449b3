// Package models keeps the models in force. Each version of a model is a record that is
// never altered, written with an event in the log of the model ([twin.ModelLog]); the
// newest version counts. A change can be tried on the twins before it is made.
package models
