package twin

import "time"

// Update is a request to change one shadow, parsed, with its origin. It is what a
// door hands to the engine; time and version are given there.
type Update struct {
	Key     ShadowKey
	Delete  bool     // delete the shadow; Request then holds the clientToken only
	Request *Request // never nil, but with Withdraw
	// Withdraw takes an intent back: the engine makes the request, of what is open of it.
	Withdraw *Withdrawal
	// ExpiresIn is how long what the request asks of the thing stays asked for; 0: for ever.
	ExpiresIn time.Duration
	Origin    Origin
	Resent    bool // see [Publish]
	// IdempotencyKey makes a repeated HTTP request have one effect; empty: none.
	IdempotencyKey string
}

// Withdrawal is a wish to take an intent back.
type Withdrawal struct {
	Version Version // of the update that asked
	Expired bool    // as its time is over
	Reason  string
}

// Result is the outcome of an [Update].
type Result struct {
	// Change is the accepted change, durable. It is nil when Err is set, and for a
	// duplicate.
	Change *Change
	// Duplicate: the update had taken effect before, nothing was changed now, and
	// Version is the version it had got then.
	Duplicate bool
	Version   Version
	// Answer is the accepted document to send for a duplicate of an HTTP request.
	Answer []byte
	// Err says why the update was not accepted. [KindUnavailable] means its fate is
	// unknown.
	Err error
}
