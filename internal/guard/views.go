package guard

type views struct{}
