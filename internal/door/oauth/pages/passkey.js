// Signs in with a passkey: asks the server for a challenge, the browser for a signature, and sends it with the form.
"use strict";
(() => {
  const form = document.getElementById("sign-in");
  const button = document.getElementById("passkey");
  if (!form || !button || !window.PublicKeyCredential) return;
  button.hidden = false;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  button.addEventListener("click", async () => {
    try {
      const reply = await fetch(form.dataset.passkey, { method: "POST" });
      if (!reply.ok) throw new Error((await reply.json()).error_description);
      const { id, options } = await reply.json();
      const publicKey = { ...options.publicKey, challenge: bytes(options.publicKey.challenge) };
      const got = await navigator.credentials.get({ publicKey });
      form.passkey_id.value = id;
      form.passkey.value = JSON.stringify({
        id: got.id, rawId: text(got.rawId), type: got.type,
        response: {
          authenticatorData: text(got.response.authenticatorData),
          clientDataJSON: text(got.response.clientDataJSON),
          signature: text(got.response.signature),
          userHandle: got.response.userHandle ? text(got.response.userHandle) : null,
        },
      });
      const step = document.createElement("input");
      step.type = "hidden"; step.name = "step"; step.value = "allow";
      form.append(step);
      form.submit();
    } catch (problem) {
      const note = document.createElement("p");
      note.setAttribute("role", "alert");
      note.textContent = "The passkey did not work: " + problem.message;
      form.before(note);
    }
  });
})();
