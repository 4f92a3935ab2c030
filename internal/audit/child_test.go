package audit

func child(string) {}
