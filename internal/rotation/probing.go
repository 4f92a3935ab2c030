package rotation

// probe asks in the order in which the answers are likely to end it.
func (m *machine) probe() { m.login(false, m.Pending, m.Base, m.Previous) }

// probed holds the table of what follows from which login.
func (m *machine) probed() {
	m.learn()
	switch {
	case m.accepts(m.Pending):
		m.Tries, m.Refused, m.Doubt = 0, false, false
		m.works(PendingWorks)
	case !m.rejects(m.Pending):
		m.unsure()
	case m.accepts(m.Base), m.Base == "":
		m.notApplied()
	case !m.rejects(m.Base):
		m.unsure()
	case m.accepts(m.Previous):
		m.resend(TargetRestored)
	case m.Previous != "" && !m.rejects(m.Previous):
		m.unsure()
	case m.Policy.OverwriteDrift || m.Start.Cause.Urgent():
		m.resend(Drift)
	default:
		m.stick(Drift, "the target accepts no value that this server knows: somebody changed it there; find out who, then replay or adopt")
	}
}

// unsure proves nothing: the run asks again later.
func (m *machine) unsure() { m.again(m.State, Waiting) }

// notApplied: the new value is not in force, and the one before it is. A statement that is still under way could change that, so a second look
// after the longest time that one can take has to agree.
func (m *machine) notApplied() {
	switch {
	case !m.calm():
	case m.Refused && m.Remade:
		m.giveUp(ValueRefused)
	case m.Refused:
		m.Refused, m.Remade = false, true
		m.move(MoveDropPending, m.Pending)
		m.Pending, m.Sent = "", false
		m.enter(Generating, ValueRefused)
	default:
		m.resend(NotApplied)
	}
}

// resend asks the target again to take the very same value.
func (m *machine) resend(why Reason) {
	switch {
	case !m.calm():
	case m.exhausted():
		m.giveUp(m.givenUp())
	default:
		m.Tries++
		m.enter(Setting, why)
	}
}

// giveUp returns to the version before when the target accepts it, and halts otherwise.
func (m *machine) giveUp(why Reason) {
	if m.accepts(m.Base) {
		m.undoAs(Aborted, why)
		return
	}
	m.halt(why)
}
