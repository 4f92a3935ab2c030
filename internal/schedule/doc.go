// Package schedule says when something that is done again and again is due: rules, windows and the two together.
//
// It is pure: no I/O, no clock. A caller keeps what Due returned and asks again after the next success; that a process
// started, or that a release was changed, makes nothing due.
//
// A Rule is one of
//
//	every 30d                       an interval, counted from the last success (w, d, h, m, s)
//	30 3 * * mon-fri                cron with five fields, as POSIX crontab reads them
//	rate(10 days)                   the interval of Amazon's schedules
//	cron(0 8 ? * MON#1 *)           the six fields of Amazon's schedules, with L, W, # and a year
//
// A Window is when changes may begin: days, a start and a length. A Schedule joins a rule, a window and a time zone and
// has a form in one line, which is also its JSON:
//
//	every 30d window sat,sun 02:00+4h zone Europe/Vienna
//
// Local times that do not exist, because clocks are put forward, mean the first instant after the gap: a rotation is
// late by minutes rather than left out. Local times that exist twice mean the first of the two. A cron rule for every hour
// follows the elapsed time instead: it fires in both of the repeated hours, and has nothing to make up for in a gap.
package schedule
