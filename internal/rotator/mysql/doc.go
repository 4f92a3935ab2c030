// Package mysql changes passwords at MariaDB and MySQL.
//
// An account is a name, and all rows name@host that a server has for it: they change together. A login proves which row it met by
// CURRENT_USER(), for a more specific row, even an anonymous one, shadows others.
//
// The administrator reads what the server keeps of each row (mysql.global_priv, mysql.user) and compares it with the hashes of the values in
// question. So a change knows before each statement what is there already, without a login that could count towards a lockout; nothing is
// sent where nothing is missing. That decides on MySQL, where ALTER USER … RETAIN CURRENT PASSWORD, sent twice, fills both places with the
// new password and kills the old one.
//
//   - MariaDB (10.4 and later) keeps a list of methods for each row. A change states the whole list: IDENTIFIED VIA p USING 'new' OR p USING
//     'old'. Methods that ask for no password, such as unix_socket, stay.
//   - MySQL (8.0.14 and later) has a primary and a secondary place. The statements are planned from what the places hold (moves.go).
//
// Passwords leave as hashes only. MySQL's general log redacts a password in the text of a statement, but the text itself travels and is
// parsed; a hash that was made here (IDENTIFIED WITH … AS) is all that anything at the server ever sees. MariaDB redacts nothing.
//
// Each change holds GET_LOCK by the account, and its session ends by itself at the deadline (wait_timeout), so that a statement which the
// network delivers later finds nobody. An account with administrative rights is refused unless its configuration allows it: whoever may
// create users may reset root on MariaDB.
package mysql
