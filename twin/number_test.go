package twin

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestEqualNumbers(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := equalNumbers(a, b); got != want {
			t.Errorf("%s and %s: got %v", a, b, got)
		}
		if got := equalNumbers(b, a); got != want {
			t.Errorf("%s and %s: got %v", b, a, got)
		}
	}
	f("1", "1.0", true)
	f("1", "1e0", true)
	f("0", "-0", true)
	f("0e5", "0.000", true)
	f("100", "1e2", true)
	f("0.001", "1E-3", true)
	f("12.50", "1250e-2", true)
	f("1000000000000000000000", "1e21", true)
	f("1", "-1", false)
	f("1", "10", false)
	f("12", "1.2", false)
	f("101", "11", false)
	f("9007199254740993", "9007199254740992", false)
	f("0.1", "0.10000000000000000001", false)
	f("1e-999999999", "10e-1000000000", true) // neither is written out
	f("1e-999999999", "1e-999999998", false)
	f("1e99999999999999999999", "1e0", false) // the parser takes no such exponent
}

// TestEqualNumbers_exact compares with arithmetic that writes the numbers out.
func TestEqualNumbers_exact(t *testing.T) {
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?([eE][-+]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if rapid.Bool().Draw(t, "shifted") {
			b = a + "0"
		}
		x, ok := new(big.Rat).SetString(a)
		y, ok2 := new(big.Rat).SetString(b)
		if !ok || !ok2 {
			t.Skip()
		}
		if got, want := equalNumbers(a, b), x.Cmp(y) == 0; got != want {
			t.Fatalf("%s and %s: got %v", a, b, got)
		}
		v, whole := wholeNumber(a)
		if whole != (x.IsInt() && x.Sign() >= 0) {
			t.Fatalf("%s: whole is %v", a, whole)
		}
		if n := x.Num(); whole && n.IsUint64() && v != n.Uint64() || whole && !n.IsUint64() && v != math.MaxUint64 {
			t.Fatalf("%s: got %d", a, v)
		}
	})
}
