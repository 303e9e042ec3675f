;;; eglot_session.el --- A session with eglot, run by test_editors_emacs.py  -*- lexical-binding: t -*-

;;; Commentary:
;; emacs --batch -l eglot_session.el -f ert-run-tests-batch-and-exit
;; in the directory where the project is made, with the page's blocks in PAGE and the server on the PATH.
;; Without -Q, which would hide Debian's packages.

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'flymake)

;; Batch mode has nobody to ask and no idle timers.
(setq make-backup-files nil
      create-lockfiles nil
      enable-local-variables :all
      eglot-sync-connect 30
      eglot-connect-timeout 30
      eglot-confirm-server-initiated-edits nil)

(load (getenv "PAGE") nil t)

(defconst fuselight-model
  (concat "import torch\n"
          "import torch.nn.functional as F\n\n\n"
          "def gate(x):\n"
          "    return len(\"é漢😀\") + x * torch.sigmoid(x)\n\n\n"
          "def door(y):\n"
          "    return y * torch.sigmoid(y)\n"))

(defun fuselight-replaced (&rest pairs)
  "The model with each first of PAIRS replaced by its second."
  (let ((text fuselight-model))
    (cl-loop for (from to) on pairs by #'cddr
             do (setq text (string-replace from to text)))
    text))

(defun fuselight-eventually (what condition)
  "Run the event loop until CONDITION gives something; give that.  WHAT names it."
  (let ((end (+ (float-time) 30)) value)
    (while (and (not (setq value (funcall condition))) (< (float-time) end))
      (accept-process-output nil 0.02))
    (or value (ert-fail (format "never came: %s" what)))))

(defun fuselight-findings (count)
  "Wait until COUNT findings are shown in the buffer; give them."
  (fuselight-eventually
   (format "%d findings" count)
   (lambda ()
     (eglot--signal-textDocument/didChange)
     (flymake-start)
     (let ((found (flymake-diagnostics)))
       (and (= (length found) count) (or found t))))))

(defmacro fuselight-in-model (name &rest body)
  "Run BODY in the file NAME, made anew, with a server of its own."
  (declare (indent 1))
  `(let ((file (expand-file-name ,name)))
     (with-temp-file file (insert fuselight-model))
     (with-current-buffer (find-file-noselect file)
       (unwind-protect
           (progn
             ;; The page's hook waits for the command to end, and there is none here.
             (run-hooks 'post-command-hook)
             (should (eglot-current-server))
             ,@body)
         (set-buffer-modified-p nil)
         (eglot-shutdown (eglot-current-server))
         (kill-buffer)
         (delete-file file)))))

(defun fuselight-on-disk (file)
  "What is written in FILE."
  (with-temp-buffer (insert-file-contents file) (buffer-string)))

(defun fuselight-choose (place start)
  "At PLACE of the text, choose the action whose title begins with START; give all titles."
  (goto-char (point-min))
  (search-forward place)
  (goto-char (match-beginning 0))
  (let (offered)
    ;; Were the command not called by a key, eglot would open a menu of the window system.
    (cl-letf ((last-nonmenu-event ?a)
              ((symbol-function 'completing-read)
               (lambda (_prompt titles &rest _)
                 (setq offered (mapcar #'car titles))
                 (cl-find-if (lambda (title) (string-prefix-p start title)) offered))))
      (eglot-code-actions (point) (point) nil t))
    offered))

(ert-deftest fuselight-finding-action-and-save ()
  (fuselight-in-model "model.py"
    (let ((first (car (fuselight-findings 2))))
      (should (equal "x * torch.sigmoid(x)"
                     (buffer-substring-no-properties
                      (flymake-diagnostic-beg first) (flymake-diagnostic-end first))))
      (should (string-match-p "FUS401\\|silu" (flymake-diagnostic-text first))))
    (let ((offered (fuselight-choose "torch.sigmoid(x)" "Replace")))
      (should (cl-find "Apply all 2 spelled-out-silu (FUS401) in this file" offered :test #'equal))
      (should (cl-find "Ignore FUS401 on this line" offered :test #'equal)))
    (let ((fused (fuselight-replaced "x * torch.sigmoid(x)" "F.silu(x)")))
      (should (equal fused (buffer-string)))
      (let ((before-save-hook nil)) (save-buffer))
      (should (equal fused (fuselight-on-disk file))))
    (fuselight-findings 1)))

(ert-deftest fuselight-comment-that-ignores ()
  (fuselight-in-model "model.py"
    (fuselight-findings 2)
    (fuselight-choose "torch.sigmoid(y)" "Ignore")
    (should (string-suffix-p "return y * torch.sigmoid(y)  # fuselight: ignore[FUS401]\n" (buffer-string)))
    (fuselight-findings 1)))

(ert-deftest fuselight-all-exact-on-save ()
  (fuselight-in-model "a model.py"
    (fuselight-findings 2)
    (goto-char (point-max))
    (insert "# unsaved\n")
    (save-buffer)
    (should (equal (concat (fuselight-replaced "x * torch.sigmoid(x)" "F.silu(x)" "y * torch.sigmoid(y)" "F.silu(y)")
                           "# unsaved\n")
                   (fuselight-on-disk file)))
    (fuselight-findings 0)
    (insert "# and again\n")
    (save-buffer)
    (should (string-suffix-p "# and again\n" (fuselight-on-disk file)))))

(ert-deftest fuselight-page-of-the-fusion ()
  (fuselight-in-model "model.py"
    (fuselight-findings 2)
    (goto-char (point-min))
    (search-forward "torch.sigmoid(y)")
    (let (shown)
      (eglot-hover-eldoc-function (lambda (text &rest _) (setq shown text)))
      (should (string-match-p "FUS401" (fuselight-eventually "the page" (lambda () shown)))))))

(ert-deftest fuselight-workspace-fixed-by-command ()
  (fuselight-in-model "model.py"
    (fuselight-findings 2)
    (fuselight-fix-workspace)
    (fuselight-eventually "the edit" (lambda () (not (string-match-p "sigmoid" (buffer-string)))))))

(ert-deftest fuselight-settings-of-the-project ()
  (make-directory "quiet" t)
  (with-temp-file "quiet/.dir-locals.el" (insert (getenv "SETTINGS")))
  (fuselight-in-model "quiet/model.py"
    (search-forward "torch.sigmoid")
    (fuselight-eventually "an end to the actions"
                          (lambda () (null (eglot-code-actions (point) (point) nil nil))))))

;;; eglot_session.el ends here
