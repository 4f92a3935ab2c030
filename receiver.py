import http.server
import json


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))[0]
        answer = {}
        if self.headers["aeg-event-type"] == "SubscriptionValidation":
            answer = {"validationResponse": event["data"]["validationCode"]}
        else:
            with open("events.log", "a") as log:
                print(event["eventType"], event["subject"], event["data"]["Id"], file=log)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 7071), Receiver)
print("ready", flush=True)
server.serve_forever()
