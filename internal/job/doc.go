// Package job brings jobs to things: firmware updates and other work that many devices
// do, each once, in waves.
//
// A job names things. Wave by wave, each thing gets an execution of the job, which its
// device starts, reports on and ends. Each step of an execution is one event of the
// twin, committed with the new record of the execution and only then told to anybody.
// The [Service] is the only writer of these records. It holds the executions that have
// not ended in memory and lets the steps of one thing wait for each other, so that each
// is judged on what the one before made durable.
//
// How far a job has come is nowhere but in the records of its executions: which things
// have it, where they stand, and when the newest of them got it. So after a kill the
// counts are exact, and a thing that has the job does not get it again; its record can
// only be made where there is none.
package job
